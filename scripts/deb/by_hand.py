"""The daemon run by hand, where no systemd runs: what it makes of its socket and of what is in its way."""

from scripts.deb import checks
from scripts.deb.machine import Machine

BY_HAND = """
set -e
install -d -o lumilio -g lumilio /run/lumilio
{before}
runuser -u lumilio -- lumiliod run >/tmp/daemon.log 2>&1 &
daemon=$!
for i in $(seq 600); do
    kill -0 $daemon 2>/dev/null || {{ wait $daemon; echo "status $?"; cat /tmp/daemon.log; exit 1; }}
    runuser -u lumilio -- lumilio status >/dev/null 2>&1 && break
    sleep 0.1
done
runuser -u lumilio -- lumilio status
pkill -TERM -u lumilio -f 'lumiliod run' || true
wait $daemon
test ! -e /run/lumilio/lumiliod.sock
"""
STALE = """python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("/run/lumilio/lumiliod.sock")'
chown lumilio /run/lumilio/lumiliod.sock"""
FOREIGN = """
rm -rf /run/lumilio; install -d -m 1777 /run/lumilio
python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("/run/lumilio/lumiliod.sock")'
chmod 0600 /run/lumilio/lumiliod.sock
runuser -u lumilio -- lumiliod run; status=$?
rm -rf /run/lumilio
test $status = 78
"""


def by_hand(machine: Machine, *, stale: bool = False) -> None:
    """Run the daemon, ask it something and stop it."""
    machine.run("bash", "-c", BY_HAND.format(before=STALE if stale else ""))


def by_hand_refused(machine: Machine) -> str:
    """See: a socket of another user is refused."""
    return machine.run("bash", "-c", FOREIGN).stderr.strip().splitlines()[-1]


def wrong_group(machine: Machine) -> str:
    """See: a group that is not there is refused."""
    checks.configure(machine, "[server]\nsocket_group = 'nobody-there'\n")
    machine.run("install", "-d", "-o", "lumilio", "/run/lumilio")
    done = machine.run("lumiliod", "run", user="lumilio", check=False)
    assert done.returncode == 78, f"status {done.returncode}: {done.stderr}"
    checks.configure(machine, "")
    return done.stderr.strip().splitlines()[-1]
