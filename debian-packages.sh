#!/usr/bin/env bash
# Installs what Ethos needs of Debian or Ubuntu, and only what is missing: the sandbox in which code that a model wrote is
# run, and the languages beside Python. As root, or by sudo.
set -euo pipefail

packages=(bubblewrap php-cli php-mbstring python3 util-linux)
missing=()
command -v apt-get >/dev/null || {
    echo "error: this is no Debian; install by your own means: ${packages[*]}" >&2
    exit 1
}
for package in "${packages[@]}"; do
    dpkg-query --show --showformat '${db:Status-Abbrev}' "$package" 2>/dev/null | grep -q '^ii' || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
    echo "Debian packages: nothing is missing"
    exit
fi
as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo)
"${as_root[@]}" apt-get update -q
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
