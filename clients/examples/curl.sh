#!/bin/sh
# A device in a shell: every frame that it is sent, one a line, until Ctrl-C.
#
#   sh clients/examples/curl.sh http://127.0.0.1:8080 ada
#   CURSOR=<the last id> sh clients/examples/curl.sh …    goes on from there
#
# The password is taken from CLEARSYNC_PASSWORD; with `make serve` any will do. To report:
#   curl -u ada:dev -H 'Content-Type: application/json' -H "X-Device-Id: shell" \
#     -d '{"NotificationEvents":[{"Type":"NewTicket","Id":12}]}' http://127.0.0.1:8080/api/v1/Agents/Pocket/NotificationsHandled
set -eu
url=${1:-http://127.0.0.1:8080}
user=${2:-ada}
# -N: each line at once. The credentials come from stdin, so that no list of processes shows them.
exec curl -sS -N --fail-with-body --config - -H 'Accept: text/event-stream' ${CURSOR:+-H "Last-Event-ID: $CURSOR"} \
    "$url/api/v1/sync?device=${DEVICE:-shell}" <<END
user = "$user:${CLEARSYNC_PASSWORD:-dev}"
END
