#!/bin/sh
# SPDX-License-Identifier: ISC
# Print a C file that has the files of the page (relay_files.h). Usage: embed.sh DIRECTORY NAME...
# Of a NAME only the part after the last slash counts.
set -eu
directory=$1
shift
echo '/* Made by embed.sh. */'
echo '#include "relay/relay_files.h"'
table=
number=0
for path; do
    name=${path##*/}
    number=$((number + 1))
    case $name in
    *.html) type='text/html; charset=utf-8' ;;
    *.css) type='text/css; charset=utf-8' ;;
    *.js) type='text/javascript; charset=utf-8' ;;
    *.svg) type='image/svg+xml' ;;
    *) echo "embed.sh: $name: which type?" >&2; exit 1 ;;
    esac
    url=/$name
    if [ "$name" = index.html ]; then
        url=/
    fi
    echo "static const unsigned char data_$number[] = {"
    od -An -v -tx1 "$directory/$name" | sed 's/ \([0-9a-f][0-9a-f]\)/0x\1,/g'
    echo '};'
    table="$table    {\"$url\", \"$type\", data_$number, sizeof data_$number},
"
done
printf 'const struct metrics_http_file relay_files[] = {\n%s    {NULL, NULL, NULL, 0},\n};\n' "$table"
