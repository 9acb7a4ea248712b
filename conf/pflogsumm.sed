# SPDX-License-Identifier: ISC
# Rewrites log lines of splitrelay as lines of Postfix, for pflogsumm(1). It is for `style = "splitmilter"' in
# section log, the default; with `style = "postfix"' pflogsumm reads the log without it.
#
#     sed -n -f pflogsumm.sed /var/log/mail.log | pflogsumm
#     journalctl -u splitrelay --since yesterday --until today | sed -n -f pflogsumm.sed | pflogsumm
#
# All other lines are left out; a second run of pflogsumm without this filter gives the report on Postfix itself.
# In the report "received" are copies taken, "bounced" are dead letters, and deferrals are shown for each
# destination, as "to-NAME".

/ splitrelay\[[0-9]*\]: /!d
s/^\([^[]* \)splitrelay\(\[[0-9]*\]: \)/\1\n\2/
s/\n\(\[[0-9]*\]: \)warning: \([0-9A-Za-z]*: \)/\n\1\2/

# Refusals, of connections, recipients and messages.
s/\n\(\[[0-9]*\]: NOQUEUE: reject: [^ ]* from \)\[/postfix\/smtpd\1unknown[/p

# A copy was taken: it becomes a line of smtpd, and one of qmgr with the size.
/\n\[[0-9]*\]: [0-9A-Za-z]*: from=<.*>, size=[0-9]*, nrcpt=[0-9]*, dest=[a-z0-9-]*, queue_id=[^ ]*, message-id=<[^>]*> ([a-z]*)$/{
    h
    s/\n\(\[[0-9]*\]: [0-9A-Za-z]*: \)from=.*/postfix\/smtpd\1client=unknown[unknown]/p
    g
    s/\n\(.*, nrcpt=[0-9]*\), dest=.*/postfix\/qmgr\1 (queue active)/p
}

# An attempt, one line for each recipient. In a server's reply pflogsumm would read "=<" as a field.
:reply
s/\(, status=[a-z]* (.*\)=</\1?</
t reply
s/, status=dead (/, status=bounced (/
s/\n\(\[[0-9]*\]: [0-9A-Za-z]*: to=<[^>]*>\)\(, orig_to=<[^>]*>\)\{0,1\}, dest=\([a-z0-9-]*\), relay=/postfix\/to-\3\1\2, relay=/p
