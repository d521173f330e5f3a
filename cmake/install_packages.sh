#!/usr/bin/env bash
# Installs those of the named Debian packages that are missing: install_packages.sh PACKAGE…
# Waits up to LOCK_TIMEOUT seconds for another apt that runs at the same time.
set -euo pipefail
timeout=${LOCK_TIMEOUT:-300}
missing=()
for package; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

sudo=""
[ "$(id -u)" = 0 ] || sudo=sudo
echo "installing ${missing[*]}"
# For the lock of the package lists apt has no timeout (2.6, Debian 12): DPkg::Lock::Timeout is about dpkg's own locks only.
start=$SECONDS
until said=$($sudo env LC_ALL=C apt-get update -qq 2>&1); do
  if ! grep -q 'Could not get lock' <<<"$said" || ((SECONDS - start >= timeout)); then
    echo "$said" >&2
    exit 1
  fi
  sleep 2
done
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
  -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout="$timeout" "${missing[@]}"
