# shellcheck shell=bash
# Part of scripts/install: from one installed version to another, and back if the new one does not get ready.

: "${opt:?}" "${user:?}" "${ready_within:?}" # set by scripts/install

# switch OLD NEW SPOOL: also goes on with a switch that the loss of power has interrupted.
switch() {
    local old=$1 new=$2 spool=$3 copy=''
    [[ ! -e $spool/spool.db || $(schema "$old") == "$(schema "$new")" ]] || copy=$spool/before-$new
    trap '' HUP PIPE # nobody may be looking on any more, and both ways are to be gone to their end
    way_back=("$old" "$new" "$spool" "$copy")
    if [[ $(installed) == "$old" ]]; then
        [[ -z $copy ]] || need_room_for_copy "$spool"
        say "upgrading from $old to $new"
        point "$opt/previous" "versions/$old"
        # From here on whatever ends this script, an interruption included, leads back.
        trap 'go_back "${way_back[@]}"' EXIT
        systemctl stop bota-gateway.service
        [[ -z $copy ]] || copy_spool "$spool" "$copy"
        use "$new"
    fi
    trap 'go_back "${way_back[@]}"' EXIT
    enable
    if ! start; then
        explain_failure
        exit 1
    fi
    trap clean_up EXIT
}

schema() {
    "$opt/versions/$1/bin/python" -I -c 'from bota_gateway.spool.const import SCHEMA_VERSION; print(SCHEMA_VERSION)'
}

# An older program can't open a spool that a newer one has brought to its schema. So the file is kept as it was before.
need_room_for_copy() {
    local needed free
    needed=$(du --summarize --block-size=1M --total "$1"/spool.db* | tail -n 1 | cut -f1)
    free=$(df --output=avail --block-size=1M "$1" | tail -n 1)
    ((free > needed + 64)) || die "upgrading needs a copy of the spool ($needed MB), and the disk has $free MB left" \
        "Let the hub upload what waits, or free space. Nothing was changed."
}

copy_spool() {
    say "copying the spool, because the new version changes its schema"
    rm -rf "$2"
    install -d -m 700 "$2"
    cp --preserve=all --reflink=auto "$1"/spool.db* "$2"
    sync -f "$2"
}

# story DIRECTORY: what a spool has lived through, as the newest installed program reads it. Every step of a recording is
# a line of its timeline, so two copies of a spool that tell the same hold the same.
story() {
    runuser -u "$user" -- "$opt/versions/$2/bin/python" -I -c '
import sys
from pathlib import Path
from bota_gateway.spool.offline import open_offline
with open_offline(Path(sys.argv[1])) as spool:
    for table in ("timeline", "recordings", "recorders"):
        print(*next(spool.query(f"SELECT count(*), ifnull(max(rowid), 0) FROM {table}")))' "$1"
}

# go_back OLD NEW SPOOL COPY
go_back() {
    local old=$1 new=$2 spool=$3 copy=$4
    trap '' INT TERM
    trap clean_up EXIT
    systemctl stop bota-gateway.service || true
    if [[ -n $copy ]] && ! put_spool_back "$new" "$spool" "$copy"; then
        rm -f "$opt/previous"
        systemctl start --no-block bota-gateway.service
        die "$new is not ready, but recordings moved on in its spool, which $old can't open: $new stays installed" \
            "Read: journalctl -u bota-gateway. The spool as it was before: $copy"
    fi
    use "$old"
    rm -f "$opt/previous"
    ((ready_within >= 300)) || ready_within=300 # the old one is not what was to be judged
    if start; then
        die "$new did not get ready; $old is back and runs: $(state StatusText)" "Report the log lines above."
    fi
    die "$new did not get ready; $old is back, but is not ready either" "$(advice)"
}

# put_spool_back NEW SPOOL COPY: fails where that would lose something.
put_spool_back() {
    local new=$1 spool=$2 copy=$3
    # The copy was not completed: the spool has not been touched.
    if [[ $(readlink "$opt/current") == "versions/$new" ]]; then
        local before after
        [[ -e $copy/spool.db ]] || return 1
        touch "$copy/spool.lock" && chown "$user:" "$copy" "$copy/spool.lock"
        before=$(story "$copy" "$new") && after=$(story "$spool" "$new") && [[ $before == "$after" ]] || return 1
        rm -f "$spool"/spool.db-*
        mv "$copy"/spool.db* "$spool"
        sync -f "$spool"
    fi
    rm -rf "$copy"
}
