# SPDX-License-Identifier: ISC
# Lines of splitrelay as pflogsumm(1) reads Postfix's. For `style = "splitmilter"' in section log, the default; with
# `style = "postfix"' pflogsumm reads them as they are.
#
#     sed -n -f pflogsumm.sed /var/log/mail.log | pflogsumm
#     journalctl -u splitrelay --since yesterday --until today | sed -n -f pflogsumm.sed | pflogsumm
#
# Everything else is left out; Postfix's own report is a second run without this filter. "received" are copies taken,
# "bounced" are dead letters, and deferrals are shown for each destination, as "to-NAME".

/ splitrelay\[[0-9]*\]: /!d
s/^\([^[]* \)splitrelay\(\[[0-9]*\]: \)/\1\n\2/
s/\n\(\[[0-9]*\]: \)warning: \([0-9A-Za-z]*: \)/\n\1\2/

# Refusals, of connections, recipients and messages.
s/\n\(\[[0-9]*\]: NOQUEUE: reject: [^ ]* from \)\[/postfix\/smtpd\1unknown[/p

# A copy was taken: a line that it came, and one with its size.
/\n\[[0-9]*\]: [0-9A-Za-z]*: from=<.*>, size=[0-9]*, nrcpt=[0-9]*, dest=[a-z0-9-]*, queue_id=[^ ]*, message-id=<[^>]*> ([a-z]*)$/{
    h
    s/\n\(\[[0-9]*\]: [0-9A-Za-z]*: \)from=.*/postfix\/smtpd\1client=unknown[unknown]/p
    g
    s/\n\(.*, nrcpt=[0-9]*\), dest=.*/postfix\/qmgr\1 (queue active)/p
}

# An attempt, for each recipient. What a server says is no field.
:said
s/\(, status=[a-z]* (.*\)=</\1?</
t said
s/, status=dead (/, status=bounced (/
s/\n\(\[[0-9]*\]: [0-9A-Za-z]*: to=<[^>]*>\)\(, orig_to=<[^>]*>\)\{0,1\}, dest=\([a-z0-9-]*\), relay=/postfix\/to-\3\1\2, relay=/p
