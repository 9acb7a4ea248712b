divert(-1)
dnl
dnl SPDX-License-Identifier: ISC
dnl
dnl splitmilter for Sendmail 8.14 and later: macros for sendmail.mc that route recipients with the suffixes of
dnl splitmilter. Include it above the MAILER() lines and below all define()s, with its settings before it and its
dnl macros after it; `splitctl setup-sendmail' prints these lines for the present configuration:
dnl
dnl   define(`SPLIT_TAG_DOMAIN', `split.invalid')dnl          tag_domain of splitmilter.conf; this is the default
dnl   include(`/usr/share/splitmilter/sendmail/splitmilter.m4')dnl
dnl   SPLIT_MILTER(`unix:/run/splitmilter/milter.sock')dnl    splitmilter gets the envelope of every message
dnl   SPLIT_REINJECT(`10025')dnl                              filters return mail here, on 127.0.0.1
dnl   SPLIT_FILTER_SMTP(`25')dnl                              mailer splitsmtp25:   filters that listen on port 25
dnl   SPLIT_FILTER_LMTP(`10024')dnl                           mailer splitlmtp10024: the same, by LMTP
dnl   SPLIT_COPY_SMTP(`10030')dnl                             mailer splitcopy: splitrelay
dnl
dnl The routes are in the mailertable, so FEATURE(`mailertable') must be there, too.

ifdef(`_MAILER_DEFINED_', `errprint(`*** ERROR: splitmilter.m4 should be before MAILER()
')')
_DEFIFNOT(`SPLIT_TAG_DOMAIN', `split.invalid')

dnl splitmilter gives NOTIFY and ORCPT to Sendmail with the recipients that it adds. With DSN switched off Sendmail
dnl silently drops such a recipient, so no configuration is generated then.
ifelse(eval(index(defn(`confPRIVACY_FLAGS'), `noreceipts') >= 0), `1',
`errprint(`*** ERROR: splitmilter needs DSN: take noreceipts out of confPRIVACY_FLAGS
')m4exit(`1')')
ifelse(translit(substr(defn(`confMIME_FORMAT_ERRORS'), 0, 1), `f', `F'), `F',
`errprint(`*** ERROR: splitmilter needs DSN: confMIME_FORMAT_ERRORS must be True
')m4exit(`1')')

dnl SPLIT_MILTER(socket [, equates]): F=T refuses mail temporarily (4xx) when splitmilter does not answer; without
dnl it mail would pass unfiltered. The tables are local and fast: a reply that takes longer than these times means
dnl a fault.
define(`SPLIT_MILTER',
`INPUT_MAIL_FILTER(`splitmilter', `S=$1, F=T, ifelse(`$2', `', `T=C:10s;S:10s;R:30s;E:2m', `$2')')')

dnl SPLIT_REINJECT(port [, address]): a listener without milters. The filters return mail there, and so does
dnl Sendmail itself: a recipient that splitmilter only rewrites is routed there (.rewritten.back). Sendmail
dnl silently drops an added recipient that has an error; at this listener the recipient gets a normal reply.
define(`SPLIT_REINJECT',
`define(`_SPLIT_BACK', ifelse(`$2', `', `127.0.0.1', `$2'))dnl
DAEMON_OPTIONS(`Name=split-in, Family=inet, Addr='_SPLIT_BACK`, Port=$1, InputMailFilters=')dnl
PUSHDIVERT(6)D{SplitBack}[_SPLIT_BACK]
POPDIVERT`'_SPLIT_MAILER(`splitback', `muXa8k', `SplitFilter', _SPLIT_WHERE(`$1'))')

dnl _SPLIT_MAILER(name, flags, recipient rewriting, A= text, more). Neither headers nor senders are masqueraded,
dnl and nothing is added to the message: filters and backups see what came in. k: a filter on this host may greet
dnl with this host's name. L=0: long lines stay.
define(`_SPLIT_MAILER',
`PUSHDIVERT(7)M$1,	P=[IPC], F=$2, S=MasqSMTP, R=$3/MasqSMTP, E=\r\n, L=0,$5
		T=DNS/RFC822/SMTP,
		A=$4
POPDIVERT`'')

dnl One mailer for each port, because the mailertable has no place for a port; SPLIT_FILTER_LMTP and
dnl SPLIT_COPY_LMTP take the path of a unix socket, too (the mailers of filters are numbered with the second
dnl argument then: splitlmtp1).
define(`_SPLIT_WHERE', `ifelse(substr(`$1', 0, 1), `/', `FILE $1', `TCP DOL(h) $1')')
define(`SPLIT_FILTER_SMTP', `_SPLIT_MAILER(`splitsmtp$1', `muXa8k', `SplitFilter', _SPLIT_WHERE(`$1'))')
define(`SPLIT_FILTER_LMTP',
`_SPLIT_MAILER(`splitlmtp'ifelse(`$2', `', `$1', `$2'), `muXz8k', `SplitFilter', _SPLIT_WHERE(`$1'))')
define(`SPLIT_COPY_SMTP', `_SPLIT_MAILER(`splitcopy', `muXa8k', `MasqSMTP', _SPLIT_WHERE(`$1'), ` r=1000,')')
define(`SPLIT_COPY_LMTP', `_SPLIT_MAILER(`splitcopy', `muXz8k', `MasqSMTP', _SPLIT_WHERE(`$1'), ` r=1000,')')

dnl The tag domain exists only here, so it is never looked up in the DNS. (If a look-up failed temporarily, the
dnl recipient would be lost.)
divert(2)
# splitmilter: below the tag domain every name is canonical
R$* < @ $+ . SPLIT_TAG_DOMAIN > $*	$@ $1 < @ $2 . SPLIT_TAG_DOMAIN . > $3
R$* < @ $+ . SPLIT_TAG_DOMAIN . > $*	$@ $1 < @ $2 . SPLIT_TAG_DOMAIN . > $3
divert(-1)

dnl Recipients whose suffix is not in the mailertable wait in the queue instead of bouncing: nothing listens at
dnl port 1 of 127.0.0.2.
define(`_LOCAL_RULES_', 1)
divert(1)
# splitmilter: rewritten recipients; then suffixes without a route in the mailertable
R$* < @ $+ . rewritten . back . SPLIT_TAG_DOMAIN . > $*	$#splitback $@ ${SplitBack} $: $1 < @ $2 . rewritten . back . SPLIT_TAG_DOMAIN . > $3
R$* < @ $+ . SPLIT_TAG_DOMAIN . > $*	$#splitnoroute $@ [127.0.0.2] $: $1 < @ $2 . SPLIT_TAG_DOMAIN . > $3
divert(-1)
_SPLIT_MAILER(`splitnoroute', `muXa8k', `MasqSMTP', `TCP DOL(h) 1')

divert(9)
#
#  splitmilter: the suffix of a filter is removed on the way to it
#
SSplitFilter
R$+			$: $>MasqSMTP $1
R$* < @ $+ . $- . filter . SPLIT_TAG_DOMAIN . > $*	$@ $1 < @ $2 . > $4
R$* < @ $+ . rewritten . back . SPLIT_TAG_DOMAIN . > $*	$@ $1 < @ $2 . > $3

#
#  splitmilter: no client may address the tag domain, on any port. Recipients that splitmilter adds do not pass here.
#
#  Sendmail accepts a comma outside quotes elsewhere (Parse0), but cannot remove such a recipient from its list
#  again: the recipient would get the mail even when splitmilter has refused it. (Source routes, which have commas,
#  are removed before this.)
#
SLocal_check_rcpt
R$*			$: $1 $| $>SplitClosed $1
R$* $| $#$*		$#$2
R$* $| $* , $*		$#error $@ 5.1.3 $: "553 5.1.3 Comma in address"
R$* $| $*		$: $1

SLocal_check_mail
R$*			$: $1 $| $>SplitClosed $1
R$* $| $#$*		$#$2
R$* $| $*		$: $1

SSplitClosed
R$*			$: $>CanonAddr $1
R$* < @ $* SPLIT_TAG_DOMAIN > $*	$#error $@ 5.7.1 $: "550 5.7.1 Address not allowed"
R$* < @ $* SPLIT_TAG_DOMAIN . > $*	$#error $@ 5.7.1 $: "550 5.7.1 Address not allowed"
R$*			$@ $1

divert(0)dnl
