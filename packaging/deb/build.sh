#!/usr/bin/env bash
# Build dist/lumilio_<version>_<arch>.deb from requirements.lock, for Debian's own Python of this machine.
# The network is needed here and never where the package is installed. Environment:
#   LUMILIO_NO_APT    when set, no build tool is installed
#   LUMILIO_VERSION   another version than the project's
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.."
# shellcheck source=packaging/deb/tools.sh
. packaging/deb/tools.sh

need_tools deb dpkg-buildpackage:dpkg-dev dh:debhelper fakeroot:fakeroot
/usr/bin/python3 -c 'import ensurepip, venv' 2>/dev/null || install_tools deb python3-venv

python=$(/usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
/usr/bin/python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    die deb "Debian's python3 has to be 3.11 or newer, and is $python"
next=${python%.*}.$((${python#*.} + 1))
version=${LUMILIO_VERSION:-$(.venv/bin/python -c 'import lumiliod; print(lumiliod.__version__)')}
arch=$(dpkg --print-architecture)
work=$PWD/build/deb
tree=$work/lumilio-$version
wheels=$PWD/build/wheels-$python-$arch

rm -rf -- "$work"
mkdir -p -- "$tree/wheels" "$wheels" dist

say deb "fetching the locked wheels"
.venv/bin/python -m scripts.deb.runtime_lock s3 >"$work/runtime.lock"
/usr/bin/python3 -m venv "$work/pip"

# fetch FOLDER ARGUMENTS…: put the wheels of the lock into a folder
fetch() {
    "$work/pip/bin/python" -m pip --disable-pip-version-check --no-input download --only-binary=:all: --require-hashes \
        --no-deps --requirement "$work/runtime.lock" --dest "$@" >"$work/pip.log" 2>&1 </dev/null ||
        { grep -v '^WARNING: ' "$work/pip.log" | tail -n 20 >&2; die deb "the locked wheels cannot be fetched"; }
}
fetch "$wheels"
# what an older lock left there is not of this one
fetch "$tree/wheels" --no-index --find-links "$wheels"
.venv/bin/python -m hatchling build --target wheel --directory "$tree/wheels" >"$work/hatchling.log" 2>&1 ||
    { cat -- "$work/hatchling.log" >&2; die deb "the project's own wheel cannot be built"; }

say deb "writing manual pages and completions"
date=$(git log -1 --format=%cs 2>/dev/null || date +%F)
.venv/bin/python -m scripts.deb.manual "$tree/generated" "$date"

cp -R packaging/deb/debian "$tree/debian"
cp -R systemd README.md ARCHITECTURE.md CHANGELOG.md CONTRIBUTING.md docs "$tree/"
# what documents name, where they name it
for named in bench/RESULTS.md bench/corpus_reasons.toml config/lumiliod.toml tests/plugins/glyph; do
    mkdir -p -- "$tree/${named%/*}"
    cp -R "$named" "$tree/$named"
done
find "$tree/tests" -name __pycache__ -prune -exec rm -rf {} +
for name in service socket; do
    cp "systemd/lumiliod.$name" "$tree/debian/lumilio.lumiliod.$name"
done
cp systemd/lumilio-worker@.service "$tree/debian/lumilio.lumilio-worker@.service"
cp systemd/tmpfiles.d/lumilio.conf "$tree/debian/lumilio.tmpfiles"
sed "s/@PYTHON@/$python/; s/@PYTHON_NEXT@/$next/" "$tree/debian/control.in" >"$tree/debian/control"
rm -- "$tree/debian/control.in"
cat >"$tree/debian/changelog" <<END
lumilio ($version) unstable; urgency=medium

  * See /usr/share/doc/lumilio/CHANGELOG.md.

 -- The Lumilio developers <lumilio@example.org>  $(date -R -d "$date")
END

say deb "building"
export SOURCE_DATE_EPOCH
SOURCE_DATE_EPOCH=$(date -d "$date" +%s)
(cd -- "$tree" && dpkg-buildpackage --build=binary --no-sign --no-check-builddeps >"$work/build.log" 2>&1) ||
    { tail -n 40 -- "$work/build.log" >&2; die deb "dpkg-buildpackage failed; all of it is in build/deb/build.log"; }
mv -- "$work/lumilio_${version}_$arch.deb" dist/
say deb "dist/lumilio_${version}_$arch.deb ($(du -h -- "dist/lumilio_${version}_$arch.deb" | cut -f1))"
