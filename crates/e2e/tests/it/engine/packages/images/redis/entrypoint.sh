#!/bin/sh
# Flags alone are the server's; root gives the volume to the user, and becomes it. Who reaches the container is the engine's business.
set -e
if [ "${1#-}" != "$1" ]; then
    set -- redis-server --protected-mode no "$@"
fi
if [ "$1" = redis-server ] && [ "$(id -u)" = 0 ]; then
    find . ! -user redis -exec chown redis:redis {} +
    exec setpriv --reuid=redis --regid=redis --clear-groups "$0" "$@"
fi
umask 077
exec "$@"
