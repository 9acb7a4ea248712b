#!/bin/sh
# SPDX-License-Identifier: ISC
# left-to-do.sh SBINDIR CONFDIR SYSUSERSDIR TMPFILESDIR UNITDIR: the end of `make install': print what is left to do on this
# machine. Each line with four blanks before it is a command for root.
sbin=$1 conf=$2 sysusers=$3 tmpfiles=$4 units=$5
spool=/var/spool/splitmilter

run() { printf '    %s\n' "$1"; }
has() { command -v "$1" >/dev/null 2>&1; }

printf '\nsplitmilter is installed. What is left to do, as root:\n\n'
if ! getent passwd splitmilter >/dev/null; then
    echo 'The user of the daemons:'
    if has systemd-sysusers; then
        run "systemd-sysusers $sysusers/splitmilter.conf"
    else
        run 'useradd --system --home-dir / --shell /usr/sbin/nologin splitmilter'
    fi
fi
if [ ! -d $spool ] || [ ! -d /run/splitmilter ]; then
    echo 'The directories of the queue and of the socket:'
    if has systemd-tmpfiles; then
        run "systemd-tmpfiles --create $tmpfiles/splitmilter.conf"
    else
        run "install -d -m 700 -o splitmilter -g splitmilter $spool"
        run 'install -d -m 755 -o splitmilter -g splitmilter /run/splitmilter'
    fi
fi
if has systemctl; then
    echo "The units in $units:"
    run 'systemctl daemon-reload'
fi
echo "Filters, destinations and tables in $conf/splitmilter.conf; then look for mistakes:"
run "$sbin/splitctl check"
echo 'Postfix, first only shown (for Sendmail: splitctl setup-sendmail):'
run "$sbin/splitctl setup-postfix --multi"
run "$sbin/splitctl setup-postfix --multi --apply"
echo 'The daemons, now and at each start of the machine:'
if has systemctl; then
    run 'systemctl enable --now splitmilter splitrelay'
else
    run "setpriv --reuid=splitmilter --regid=splitmilter --init-groups $sbin/splitmilter"
    run "setpriv --reuid=splitmilter --regid=splitmilter --init-groups $sbin/splitrelay"
fi
printf '\nsplitmilter(7) lists manual pages and guides.\n'
