#!/bin/sh
# A site of its own, unless somebody has bound one.
set -e
site=/etc/nginx/conf.d/site.conf
if [ ! -e "$site" ]; then
    echo 'server { listen 80; root /var/www/html; }' > "$site"
fi
nginx -t -q
exec "$@"
