#!/usr/bin/env bash
# Test the package that build.sh made last; what that takes is installed by apt unless LUMILIO_NO_APT is set.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.."
# shellcheck source=packaging/deb/tools.sh
. packaging/deb/tools.sh

need_tools test-deb lintian:lintian
if [[ $EUID -eq 0 && -z ${LUMILIO_NO_APT:-} ]]; then
    need_tools test-deb debootstrap:debootstrap systemd-nspawn:systemd-container
fi
package=$(find dist -name "lumilio_*_$(dpkg --print-architecture).deb" -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d' ' -f2-)
[[ -n $package ]] || die test-deb "there is no package in dist: make deb"
exec .venv/bin/python -m scripts.deb.test "$package"
