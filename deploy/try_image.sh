#!/usr/bin/env bash
# Builds the image of deploy/Containerfile without an engine, and lets it serve: as root, on Debian,
# with the packages buildah and debootstrap. A bare Debian with Python stands in for the public base
# image. DATABASE_URL and REDIS_URL name servers that it may use. Leaves nothing behind.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d -t sluice-image-XXXXXX)
export BUILDAH_ISOLATION=chroot STORAGE_DRIVER=vfs
export CONTAINERS_STORAGE_CONF=$work/storage.conf
printf '[storage]\ndriver = "vfs"\nrunroot = "%s"\ngraphroot = "%s"\n' "$work/run" "$work/store" >"$work/storage.conf"
server=
leave() {
    [ -z "$server" ] || { kill "$server" 2>/dev/null && wait "$server" || true; }
    buildah rm --all >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap leave EXIT

debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates \
    bookworm "$work/base" "${DEBIAN_MIRROR:-http://deb.debian.org/debian}" >"$work/debootstrap.log"
rm -rf "$work"/base/var/cache/apt/*.bin "$work"/base/var/cache/apt/archives/*.deb "$work"/base/var/lib/apt/lists/*
base=$(buildah from scratch)
buildah add -q "$base" "$work/base" / >/dev/null
buildah commit -q "$base" localhost/python-base >/dev/null
buildah rm "$base" >/dev/null
rm -rf "$work/base"

# The names and certificates of this machine: it may reach the package index only by them.
buildah bud -q --format docker -f deploy/Containerfile --build-arg BASE=localhost/python-base \
    --build-arg C_PARSER="${C_PARSER:-false}" \
    --volume /etc/resolv.conf:/etc/resolv.conf:ro --volume /etc/ssl/certs:/etc/ssl/certs:ro \
    --env PIP_CERT=/etc/ssl/certs/ca-certificates.crt -t localhost/sluice . >/dev/null

container=$(buildah from localhost/sluice)
root=$(buildah mount "$container")
echo "image: $(du -sm --exclude=proc "$root" | cut -f1) MB unpacked, of it /srv $(du -sm "$root/srv" | cut -f1) MB"
buildah inspect --format '{{.OCIv1.Config.User}} {{.OCIv1.Config.StopSignal}} {{.OCIv1.Config.Entrypoint}} {{.OCIv1.Config.Cmd}}' "$container"

# Read-only but for memory, as uid 10001 without capabilities: what compose.yaml asks an engine for.
# It becomes the container, so that a signal reaches it: call it in a shell of its own.
sluice() {
    exec unshare --mount --propagation private bash -euc '
        root=$1; shift
        mount --bind "$root" "$root"
        mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
        mount --rbind /dev "$root/dev"
        mount -t proc proc "$root/proc"
        # Servers of this machine may be behind sockets.
        sockets=$(sed -n "s/.*[?&]host=\([^&]*\).*/\1/p" <<<"$DATABASE_URL")
        [ -z "$sockets" ] || { chmod -R o+rwX "$sockets"; mkdir -p "$root$sockets"; mount --bind "$sockets" "$root$sockets"; }
        mount -o remount,bind,ro "$root"
        exec env -i PATH=/srv/venv/bin:/usr/bin:/bin HOME=/tmp PYTHONUNBUFFERED=1 \
            PYTHONDONTWRITEBYTECODE=1 WEB_CONCURRENCY=2 BIND=127.0.0.1:"$PORT" \
            SECRET_KEY=only-for-a-container-that-lives-for-a-minute-4471-zebra \
            ALLOWED_HOSTS=localhost TRUST_X_FORWARDED_PROTO=true \
            DATABASE_URL="$DATABASE_URL" REDIS_URL="$REDIS_URL" \
            /usr/bin/setpriv --no-new-privs /usr/sbin/chroot --userspec=10001:10001 "$root" \
            sh -c "cd /srv/sluice && exec python -m config.cli \"\$@\"" sh "$@"
    ' sluice "$root" "$@"
}
export PORT="${PORT:-18080}"
(sluice --version)
(sluice migrate --verbosity 0)
(sluice manage load_demo)
key=$(sluice manage create_api_key --user shop --create-user --all-scopes)
sluice web 2>"$work/web.log" &
server=$!
for _ in $(seq 60); do (sluice probe) 2>/dev/null && break; sleep 1; done
(sluice probe) || { cat "$work/web.log"; exit 1; }
echo "probe: ready"
for again in 1 2; do
    python3 - "$PORT" "$key" <<'ORDER'
import http.client, json, sys
caller = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=10)
caller.request("POST", "/api/v1/orders",
    json.dumps({"customer": "c-17", "lines": [{"sku": "DEMO-CUP", "quantity": 1}]}),
    {"Host": "localhost", "Authorization": "Bearer " + sys.argv[2], "X-Forwarded-Proto": "https",
     "Content-Type": "application/json", "Idempotency-Key": "image-order"})
answer = caller.getresponse()
body = json.loads(answer.read())
print("order:", answer.status, body.get("number", body.get("id")),
    "again" if answer.headers["Idempotent-Replayed"] else "new")
caller.request("GET", "/admin/login/", headers={"Host": "localhost", "X-Forwarded-Proto": "https"})
answer = caller.getresponse(); page = answer.read().decode()
style = next(word for word in page.split('"') if word.endswith(".css"))
caller.request("GET", style, headers={"Host": "localhost", "X-Forwarded-Proto": "https"})
print("static file:", caller.getresponse().status, style)
ORDER
done
kill -TERM "$server"
wait "$server"
echo "TERM: ended with 0"
server=
