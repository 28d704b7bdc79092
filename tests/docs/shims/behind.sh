# behind UP COMMAND…: starts a command, which goes on behind the page's next ones, and waits until it printed UP.
behind() {
    local up=$1 log
    shift
    log=$(mktemp "$DOCS_HOME/seen/XXXXXX")
    "$@" </dev/null >"$log" 2>"$log.err" &
    began=$!
    local deadline=$((SECONDS + 15))
    until grep -q -- "$up" "$log"; do
        if ! kill -0 "$began" 2>/dev/null || [ "$SECONDS" -gt "$deadline" ]; then
            cat "$log" "$log.err" >&2
            return 1
        fi
        sleep 0.05
    done
}
