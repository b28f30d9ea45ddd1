"""Makes docs/vm.md; run by scripts/generate-docs."""

from vm.scenarios import SCENARIOS

BEFORE = """\
# The gateway on real BlueZ and systemd

`scripts/vm` boots Debian 12 with its stock kernel in QEMU, installs the gateway there with `scripts/install`, and plays
the scenarios below: in several machines at once (`--jobs`), each of which takes the next scenario when it has done with
one, begins with `install`, and ends before the judge. A scenario that fails is followed by a new machine, so that
nothing of it is left. `scripts/vm NAME...` plays some, a name given twice is played twice, `--list` names them. It
exits with 0 only if all went well. The table comes last; each machine's whole journal stays in
`.cache/vm/run/NUMBER/journal.log`. `VM_SUITE=trixie scripts/vm` does the same with Debian 13.

| Real, in the guest | Simulated, on this side |
|---|---|
| kernel, systemd, D-Bus, bluetoothd; the gateway in its unit, with the sandbox | controllers, air, recorders, cloud |

The controllers are reached through `hci_vhci` and one virtio port each, so recorders and cloud outlive the hub. Each
scenario brings recorders of its own and waits until they were allowed to delete everything; then every recording must
be in the bucket once and bit-identical. Waits are for events, and their limits generous: an emulated guest is 12 to 19
times slower than the machine it runs on. KVM is used where a trial boot with it succeeds.

Building the image needs root, x86-64 and the network; playing needs no root. What was built stays in `.cache/vm`, and
is made anew, step by step, when its inputs change: from nothing in 80 seconds, after a change of the gateway in 15 to
45. With that done, all scenarios take seven and a half minutes in four machines on four idle cores, and 21 minutes of
processor time; with others at work on the same cores, 15 minutes. One scenario, boot included, takes about a minute.
`time scripts/vm --jobs N` measures it again. `.ci/run` builds and plays all of it.

| Scenario | What happens, and what must follow |
|---|---|
"""

AFTER = """
A power cut is a killed QEMU: what the guest had in memory is lost, also what programs had written and the kernel had
not yet; before a cut its kernel is told to write only what a program waits for. `power-cut-control` shows that this is
felt: a spool that does not wait for its disk loses what it had said. What a disk still had in a cache of its own is
not lost here, but for what needed a table of the overlay to be written.

No real radio is in this: no interference, no adapter's own limits and faults, none of its power problems.
"""


def document() -> str:
    """The whole of it."""
    rows = "".join(f"| `{one.name}` | {one.what} |\n" for one in SCENARIOS)
    return BEFORE + rows + AFTER
