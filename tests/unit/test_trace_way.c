/* SPDX-License-Identifier: ISC */
/* trace_way: prepared logs, and what became of the mail of a word in them. */
#include "base/buf.h"
#include "base/mem.h"
#include "ctl/trace/trace_join.h"
#include "ctl/trace/trace_way.h"
#include "unit.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define T "Nov 30 05:00:00 mx "
#define U "Nov 30 05:00:01 mx "
#define V "Nov 30 05:00:02 mx "
#define FILTER(address) address ".secondary.filter.split.invalid"
#define COPY(address) address ".archive.copy.split.invalid"
#define RELAY ", relay=127.0.0.1[127.0.0.1]:10, delay=0.4, delays=0/0/0/0.4, dsn=2.0.0, status="

/* The front with id 4Xy1234567z takes a message for anna and ben. */
#define FRONT                                                                                      \
    T "postfix-in/smtpd[1]: 4Xy1234567z: client=client.test[192.0.2.1]\n" T                        \
      "postfix-in/cleanup[2]: 4Xy1234567z: message-id=<1@x>\n" T                                   \
      "postfix-in/qmgr[4]: 4Xy1234567z: from=<s@sender.test>, size=1234, nrcpt=3 (queue active)\n"
#define DECISIONS                                                                                  \
    T "splitmilter[3]: 4Xy1234567z: to=<anna@a.test>, canonical=<anna@new.test>, "                 \
      "filter=secondary, copy=archive\n" T                                                         \
      "splitmilter[3]: 4Xy1234567z: to=<ben@a.test>, filter=secondary\n"
#define TO_FILTER                                                                                  \
    U "postfix-in/smtp[5]: 4Xy1234567z: to=<" FILTER(                                              \
        "anna@new.test") ">" RELAY "sent (250 2.0.0 Ok: queued as 4Xy1234568z)\n" U                \
                         "postfix-in/smtp[5]: 4Xy1234567z: to=<" FILTER(                           \
                             "ben@a.test") ">" RELAY                                               \
                                           "sent (250 2.0.0 Ok: queued as 4Xy1234568z)\n"
#define TO_COPY                                                                                    \
    U "postfix-in/smtp[5]: 4Xy1234567z: to=<" COPY(                                                \
        "anna@a.test") ">" RELAY "sent (250 2.0.0 Ok: queued as 6A00000000000001)\n"
#define OUT                                                                                        \
    U "postfix-out/smtpd[7]: 4Xy1234568z: client=localhost[127.0.0.1]\n" U                         \
      "postfix-out/cleanup[8]: 4Xy1234568z: message-id=<1@x>\n" V                                  \
      "postfix-out/lmtp[9]: 4Xy1234568z: to=<anna@new.test>" RELAY "sent (250 2.0.0 saved)\n" V    \
      "postfix-out/lmtp[9]: 4Xy1234568z: to=<ben@a.test>" RELAY "bounced (550 5.1.1 unknown)\n"
#define TAKEN                                                                                      \
    U "splitrelay[6]: 6A00000000000001: from=<s@sender.test>, size=1400, nrcpt=1, dest=archive, "  \
      "queue_id=4Xy1234567z, message-id=<1@x> (queued)\n"
#define OUTCOME(status)                                                                            \
    V "splitrelay[6]: 6A00000000000001: to=<anna@a.test>, dest=archive" RELAY status "\n"

#define LOST_TEXT                                                                                  \
    "missing: what became of the mail behind filter secondary (250 2.0.0 Ok: queued as "           \
    "4Xy1234568z)\n"

#define NO_LINE(missing, all)                                                                      \
    "missing: lines about " missing " of the " all                                                 \
    " recipients of 4Xy1234567z in postfix-in, unless a milter has removed them\n"

static const struct {
    const char *log, *word, *result;
} rows[] = {
    /* the whole way, for one of two recipients */
    {FRONT DECISIONS TO_FILTER TO_COPY OUT TAKEN OUTCOME("sent (250 Ok)"), "anna@a.test",
     "anna@a.test: mail secondary sent 250 2.0.0 saved; copy archive sent 250 Ok\n"},
    {FRONT DECISIONS TO_FILTER TO_COPY OUT TAKEN OUTCOME("sent (250 Ok)"), "BEN@a.test",
     "ben@a.test: mail secondary bounced 550 5.1.1 unknown\n"},
    /* by sender, ids, Message-ID and final address */
    {FRONT DECISIONS TO_FILTER TO_COPY OUT TAKEN OUTCOME("sent (250 Ok)"), "anna@new.test",
     "anna@a.test: mail secondary sent 250 2.0.0 saved; copy archive sent 250 Ok\n"},
    {FRONT DECISIONS TO_FILTER TO_COPY OUT TAKEN OUTCOME("sent (250 Ok)"), "6a00000000000001",
     "anna@a.test: mail secondary sent 250 2.0.0 saved; copy archive sent 250 Ok\n"},
    {FRONT DECISIONS TO_FILTER OUT, "<1@x>",
     "anna@a.test: mail secondary sent 250 2.0.0 saved; copy archive waits \n"
     "ben@a.test: mail secondary bounced 550 5.1.1 unknown\n"},
    {FRONT DECISIONS TO_FILTER OUT, "s@sender.test",
     "anna@a.test: mail secondary sent 250 2.0.0 saved; copy archive waits \n"
     "ben@a.test: mail secondary bounced 550 5.1.1 unknown\n"},
    {FRONT DECISIONS TO_FILTER OUT, "nobody@a.test", ""},
    /* the order of the files does not matter */
    {OUTCOME("sent (250 Ok)") TAKEN OUT DECISIONS TO_COPY TO_FILTER FRONT, "anna@a.test",
     "anna@a.test: mail secondary sent 250 2.0.0 saved; copy archive sent 250 Ok\n"},
    /* the copy is deferred, then dead */
    {FRONT DECISIONS TO_FILTER TO_COPY OUT TAKEN OUTCOME("deferred (timeout)"), "anna@a.test",
     "anna@a.test: mail secondary sent 250 2.0.0 saved; copy archive waits timeout\n"},
    {FRONT DECISIONS TO_FILTER TO_COPY OUT TAKEN OUTCOME("deferred (timeout)")
         OUTCOME("dead (550 no)"),
     "anna@a.test", "anna@a.test: mail secondary sent 250 2.0.0 saved; copy archive dead 550 no\n"},
    /* what is not in the logs is named */
    {FRONT DECISIONS TO_FILTER TO_COPY TAKEN OUTCOME("sent (250 Ok)"), "anna@a.test",
     "anna@a.test: mail secondary unknown 250 2.0.0 Ok: queued as 4Xy1234568z; copy archive sent "
     "250 Ok\n" LOST_TEXT},
    {TO_FILTER OUT, "ben@a.test",
     "ben@a.test: mail secondary bounced 550 5.1.1 unknown\n"
     "missing: the arrival of 4Xy1234567z in postfix-in\n"},
    {DECISIONS, "ben@a.test",
     "ben@a.test: mail unknown \nmissing: what became of the mail itself\n"
     "missing: the lines of the MTA about 4Xy1234567z\n"},
    {TAKEN OUTCOME("sent (250 Ok)"), "anna@a.test",
     "anna@a.test: mail unknown ; copy archive sent 250 Ok\n"
     "missing: what became of the mail itself\nmissing: the lines of the MTA about 4Xy1234567z\n"},
    /* the front has not got rid of it */
    {FRONT DECISIONS U "postfix-in/smtp[5]: 4Xy1234567z: to=<" FILTER(
         "ben@a.test") ">" RELAY "deferred (connect to 127.0.0.1: Connection refused)\n",
     "ben@a.test", "ben@a.test: mail secondary waits connect to 127.0.0.1: Connection refused\n"},
    {FRONT DECISIONS, "ben@a.test", "ben@a.test: mail secondary waits \n"},

    /* RFC 3339 stamps, of two zones: the later line is first in the file */
    {"2026-11-30T06:00:02.500000+01:00 mx postfix/lmtp[9]: 4Xy1234567z: to=<a@a.test>" RELAY
     "sent (250 two)\n"
     "2026-11-30T05:00:01.250000Z mx postfix/lmtp[9]: 4Xy1234567z: to=<a@a.test>" RELAY
     "deferred (451 one)\n"
     "2026-11-30T05:00:00Z mx postfix/smtpd[9]: 4Xy1234567z: client=c[192.0.2.1]\n",
     "a@a.test", "a@a.test: mail sent 250 two\n"},
    /* a short id is used again */
    {T "postfix/smtpd[1]: 0A1B2C3D4E: client=c[192.0.2.1]\n" T
       "postfix/lmtp[9]: 0A1B2C3D4E: to=<a@a.test>" RELAY "sent (250 first)\n" U
       "postfix/qmgr[4]: 0A1B2C3D4E: removed\n" V
       "postfix/smtpd[1]: 0A1B2C3D4E: client=c[192.0.2.1]\n" V
       "postfix/lmtp[9]: 0A1B2C3D4E: to=<a@a.test>" RELAY "deferred (451 second)\n",
     "a@a.test", "a@a.test: mail sent 250 first\na@a.test: mail waits 451 second\n"},
    /* two instances have the same short id at the same time: the Message-ID decides */
    {T "postfix-in/smtpd[1]: 0A1B2C3D40: client=c[192.0.2.1]\n" T
       "postfix-in/cleanup[2]: 0A1B2C3D40: message-id=<1@x>\n" U
       "postfix-in/smtp[5]: 0A1B2C3D40: to=<" FILTER(
           "a@a.test") ">" RELAY "sent (250 2.0.0 Ok: queued as 0A1B2C3D4E)\n" U
                       "postfix-x/smtpd[1]: 0A1B2C3D4E: client=c[192.0.2.1]\n" U
                       "postfix-x/cleanup[2]: 0A1B2C3D4E: message-id=<2@x>\n" U
                       "postfix-out/smtpd[1]: 0A1B2C3D4E: client=c[192.0.2.1]\n" U
                       "postfix-out/cleanup[2]: 0A1B2C3D4E: message-id=<1@x>\n" V
                       "postfix-x/lmtp[9]: 0A1B2C3D4E: to=<a@a.test>" RELAY "sent (250 wrong)\n" V
                       "postfix-out/lmtp[9]: 0A1B2C3D4E: to=<a@a.test>" RELAY "sent (250 right)\n",
     "0A1B2C3D40", "a@a.test: mail secondary sent 250 right\n"},
    /* ... and without it none is taken */
    {T "postfix-in/smtpd[1]: 0A1B2C3D40: client=c[192.0.2.1]\n" U
       "postfix-in/smtp[5]: 0A1B2C3D40: to=<" FILTER(
           "a@a.test") ">" RELAY "sent (250 2.0.0 Ok: queued as 0A1B2C3D4E)\n" U
                       "postfix-x/smtpd[1]: 0A1B2C3D4E: client=c[192.0.2.1]\n" U
                       "postfix-out/smtpd[1]: 0A1B2C3D4E: client=c[192.0.2.1]\n" V
                       "postfix-x/lmtp[9]: 0A1B2C3D4E: to=<a@a.test>" RELAY "sent (250 x)\n" V
                       "postfix-out/lmtp[9]: 0A1B2C3D4E: to=<a@a.test>" RELAY "sent (250 out)\n",
     "0A1B2C3D40",
     "a@a.test: mail secondary unknown 250 2.0.0 Ok: queued as 0A1B2C3D4E\n"
     "missing: what became of the mail behind filter secondary (250 2.0.0 Ok: queued as "
     "0A1B2C3D4E)\n"},
    /* splitmilter does not say which instance asked: the recipient decides */
    {T "postfix-a/smtpd[1]: 0A1B2C3D40: client=c[192.0.2.1]\n" T
       "postfix-b/smtpd[1]: 0A1B2C3D40: client=c[192.0.2.1]\n" T
       "splitmilter[3]: 0A1B2C3D40: to=<b@a.test>, copy=archive\n" V
       "postfix-a/lmtp[9]: 0A1B2C3D40: to=<a@a.test>" RELAY "sent (250 a)\n" V
       "postfix-b/lmtp[9]: 0A1B2C3D40: to=<b@a.test>" RELAY "sent (250 b)\n",
     "0A1B2C3D40", "a@a.test: mail sent 250 a\nb@a.test: mail sent 250 b; copy archive waits \n"},

    /* syslog has cut the line: an id at its end may be incomplete, and so may a status */
    {FRONT DECISIONS OUT U "postfix-in/smtp[5]: 4Xy1234567z: to=<" FILTER(
         "ben@a.test") ">" RELAY "sent (250 2.0.0 Ok: queued as 4Xy1234568z",
     "ben@a.test",
     "ben@a.test: mail secondary unknown 250 2.0.0 Ok: queued as 4Xy1234568z\n" LOST_TEXT
     "ben@a.test: mail bounced 550 5.1.1 unknown\n"},
    {FRONT DECISIONS U "postfix-in/smtp[5]: 4Xy1234567z: to=<" FILTER("ben@a.test") ">" RELAY "se",
     "ben@a.test",
     "ben@a.test: mail secondary unknown \n"
     "missing: the outcome of a delivery of 4Xy1234567z, whose line is cut\n"},
    {FRONT U "postfix-in/smtp[5]: 4Xy1234567z: to=<ben@a.te", "ben@a.test", ""},

    /* text from outside is not a field */
    {FRONT U
     "postfix-in/smtp[5]: 4Xy1234567z: to=<ben@a.test>" RELAY
     "deferred (451 to=<eve@a.test>, relay=x, status=sent (250 queued as 4Xy1234568z))\n" OUT,
     "ben@a.test",
     "ben@a.test: mail waits 451 to=<eve@a.test>, relay=x, status=sent (250 queued as "
     "4Xy1234568z)\nben@a.test: mail bounced 550 5.1.1 unknown\n"},
    {FRONT U "postfix-in/smtp[5]: 4Xy1234567z: to=<\"x>, status=sent (\"@a.test>" RELAY
             "bounced (550 no)\n",
     "4Xy1234567z", "\"x>, status=sent (\"@a.test: mail bounced 550 no\n" NO_LINE("2", "3")},
    {FRONT U "postfix-in/smtp[5]: 4Xy1234567z: to=<ben@a.test>" RELAY
             "deferred (451 to=<eve@a.test>)\n",
     "eve@a.test", ""},

    /* amavis gives both ids, and the reply of the filter none */
    {FRONT T
     "splitmilter[3]: 4Xy1234567z: to=<ben@a.test>, filter=secondary\n" U
     "postfix-in/smtp[5]: 4Xy1234567z: to=<" FILTER(
         "ben@a.test") ">" RELAY "sent (250 2.7.0 Ok)\n" OUT
         U "amavis[11]: (11-01) Passed CLEAN {RelayedInbound}, [192.0.2.1] <s@sender.test> -> "
                       "<ben@a.test>, Queue-ID: 4Xy1234567z, Message-ID: <1@x>, mail_id: x, Hits: "
                       "-1, size: "
                       "1, queued_as: 4Xy1234568z, 512 ms\n",
     "ben@a.test", "ben@a.test: mail secondary bounced 550 5.1.1 unknown\n"},
    /* XFORWARD brings the front's id */
    {FRONT T "splitmilter[3]: 4Xy1234567z: to=<ben@a.test>, filter=secondary\n" U
             "postfix-in/smtp[5]: 4Xy1234567z: to=<" FILTER(
                 "ben@a.test") ">" RELAY "sent (250 2.7.0 Ok)\n" U
                               "postfix-out/smtpd[7]: 4Xy1234568z: client=localhost[127.0.0.1], "
                               "orig_queue_id=4Xy1234567z, orig_client=client.test[192.0.2.1]\n" V
                               "postfix-out/lmtp[9]: 4Xy1234568z: to=<ben@a.test>" RELAY
                               "sent (250 saved)\n",
     "ben@a.test", "ben@a.test: mail secondary sent 250 saved\n"},
    /* the filter has changed the only recipient */
    {FRONT U "postfix-in/smtp[5]: 4Xy1234567z: to=<" FILTER(
         "ben@a.test") ">" RELAY "sent (250 2.0.0 Ok: queued as 4Xy1234568z)\n" U
                       "postfix-out/smtpd[7]: 4Xy1234568z: client=localhost[127.0.0.1]\n" V
                       "postfix-out/lmtp[9]: 4Xy1234568z: to=<quarantine@b.test>" RELAY
                       "sent (250 kept)\n",
     "ben@a.test", "ben@a.test: mail secondary sent 250 kept\n"},
    /* two recipients become one */
    {FRONT T "splitmilter[3]: 4Xy1234567z: to=<a@a.test>, canonical=<c@a.test>, copy=archive\n" T
             "splitmilter[3]: 4Xy1234567z: to=<b@a.test>, canonical=<c@a.test>\n" U
             "postfix-in/lmtp[5]: 4Xy1234567z: to=<c@a.test>" RELAY "sent (250 one)\n",
     "b@a.test", "b@a.test: mail sent 250 one\n"},
    /* an address that only orig_to= names */
    {FRONT T "splitmilter[3]: 4Xy1234567z: to=<staff@a.test>, copy=archive\n" U
             "postfix-in/lmtp[5]: 4Xy1234567z: to=<c@a.test>, orig_to=<staff@a.test>" RELAY
             "sent (250 one)\n",
     "staff@a.test", "staff@a.test: mail sent 250 one; copy archive waits \n"},
    /* an instance in between has the address with its suffix, too */
    {FRONT U "postfix-in/smtp[5]: 4Xy1234567z: to=<" COPY(
         "anna@a.test") ">" RELAY "sent (250 2.0.0 Ok: queued as 4Xy1234568z)\n" U
                        "postfix-mid/smtpd[1]: 4Xy1234568z: client=localhost[127.0.0.1]\n" U
                        "postfix-mid/smtp[5]: 4Xy1234568z: to=<" COPY(
                            "anna@a.test") ">" RELAY
                                           "sent (250 2.0.0 Ok: queued as 6A00000000000001)\n" TAKEN
                                               OUTCOME("sent (250 Ok)"),
     "anna@a.test", "anna@a.test: mail waits ; copy archive sent 250 Ok\n"},
    /* a copy that splitmilter has skipped, and one that it has made; and in JSON */
    {FRONT T "splitmilter[3]: 4Xy1234567z: to=<anna@a.test>, copy=archive, "
             "skip=newmail(direction=inbound),sent(direction=inbound)\n" TO_COPY TAKEN OUTCOME(
                 "sent (250 Ok)") U "postfix-in/lmtp[5]: 4Xy1234567z: to=<anna@a.test>" RELAY
                                    "sent (250 one)\n",
     "anna@a.test",
     "anna@a.test: mail sent 250 one; copy archive sent 250 Ok; copy newmail skipped "
     "direction=inbound; copy sent skipped direction=inbound\n"},
    {FRONT "{\"time\":\"2026-11-30T05:00:00.100000Z\",\"program\":\"splitmilter\",\"pid\":3,"
           "\"level\":\"info\",\"queue_id\":\"4Xy1234567z\",\"to\":\"anna@a.test\",\"skip\":"
           "\"newmail(direction=internal)\"}\n" U
           "postfix-in/lmtp[5]: 4Xy1234567z: to=<anna@a.test>" RELAY "sent (250 one)\n",
     "anna@a.test", "anna@a.test: mail sent 250 one; copy newmail skipped direction=internal\n"},
    /* splitmilter refuses */
    {FRONT T "splitmilter[3]: warning: 4Xy1234567z: to=<a@a.test>, status=tempfail (no table)\n",
     "a@a.test", "a@a.test: mail refused no table\n"},

    /* splitrelay in the style of Postfix, and in JSON */
    {FRONT DECISIONS TO_COPY TO_FILTER OUT U
     "splitrelay/smtpd[6]: 6A00000000000001: client=client.test[192.0.2.1], "
     "orig_queue_id=4Xy1234567z, dest=archive\n" U
     "splitrelay/cleanup[6]: 6A00000000000001: message-id=<1@x>\n" U
     "splitrelay/qmgr[6]: 6A00000000000001: from=<s@sender.test>, size=1, nrcpt=1 (queue "
     "active)\n" V "splitrelay/archive/smtp[6]: 6A00000000000001: to=<anna@a.test>" RELAY
     "sent (250 Ok)\n",
     "anna@a.test", "anna@a.test: mail secondary sent 250 2.0.0 saved; copy archive sent 250 Ok\n"},
    {FRONT T "splitmilter[3]: 4Xy1234567z: to=<anna@a.test>, copy=archive,newmail\n" U
             "postfix-in/smtp[5]: 4Xy1234567z: to=<anna@a.test.archive.copy.split.invalid>" RELAY
             "sent (250 2.0.0 Ok: queued as 6A00000000000001 6A00000000000002)\n" U
             "postfix-in/smtp[5]: 4Xy1234567z: to=<anna@a.test.newmail.copy.split.invalid>" RELAY
             "sent (250 2.0.0 Ok: queued as 6A00000000000001 6A00000000000002)\n" U
             "splitrelay/smtpd[6]: 6A00000000000001: client=x, dest=archive[192.0.2.1], "
             "orig_queue_id=4Xy1234567z, dest=newmail\n" U
             "splitrelay/qmgr[6]: 6A00000000000001: from=<s@sender.test>, size=1, nrcpt=1 (queue "
             "active)\n" U "splitrelay/smtpd[6]: 6A00000000000002: client=x[192.0.2.1], "
             "orig_queue_id=4Xy1234567z, dest=archive\n" U
             "splitrelay/qmgr[6]: 6A00000000000002: from=<s@sender.test>, size=1, nrcpt=1 (queue "
             "active)\n" V "splitrelay/archive/smtp[6]: 6A00000000000002: to=<anna@a.test>" RELAY
             "sent (250 Ok)\n" U "postfix-in/lmtp[5]: 4Xy1234567z: to=<anna@a.test>" RELAY
             "sent (250 one)\n",
     "anna@a.test",
     "anna@a.test: mail sent 250 one; copy archive sent 250 Ok; copy newmail waits \n"},
    {FRONT TO_COPY TO_FILTER OUT
     "{\"time\":\"2026-11-30T05:00:00.100000Z\",\"program\":\"splitmilter\",\"pid\":3,\"level\":"
     "\"info\",\"queue_id\":\"4Xy1234567z\",\"to\":\"anna@a.test\",\"canonical\":\"anna@new.test\","
     "\"filter\":\"secondary\",\"copy\":\"archive\"}\n" U
     "splitrelay[6]: {\"time\":\"2026-11-30T05:00:01.100000Z\",\"program\":\"splitrelay\",\"pid\":"
     "6,\"level\":\"info\",\"copy_id\":\"6A00000000000001\",\"dest\":\"archive\",\"queue_id\":"
     "\"4Xy1234567z\",\"from\":\"s@sender.test\",\"size\":1400,\"nrcpt\":1,\"status\":\"queued\","
     "\"message_id\":\"1@x\"}\n"
     "{\"time\":\"2026-11-30T05:00:02.100000Z\",\"program\":\"splitrelay\",\"pid\":6,\"level\":"
     "\"info\",\"copy_id\":\"6A00000000000001\",\"dest\":\"archive\",\"to\":\"anna@a.test\","
     "\"relay\":\"h[192.0.2.9]:25\",\"delay\":0.4,\"delays\":\"0/0/0/0\",\"dsn\":\"2.0.0\","
     "\"status\":\"sent\",\"reason\":\"250 Ok\"}\n",
     "anna@a.test", "anna@a.test: mail secondary sent 250 2.0.0 saved; copy archive sent 250 Ok\n"},
    /* a listener and its primary */
    {V "splitrelay[6]: 6A00000000000001: to=<a@a.test>, listener=in, relay=p[192.0.2.3]:25, "
       "conn_use=1, delay=0.10, dsn=2.0.0, status=sent (250 primary)\n" U
       "splitrelay[6]: 6A00000000000001: from=<s@sender.test>, size=1, nrcpt=1, dest=archive, "
       "queue_id=-, message-id=<1@x> (queued)\n" U
       "splitrelay[6]: 6A00000000000002: from=<s@sender.test>, size=1, nrcpt=1, dest=newmail, "
       "queue_id=-, message-id=<1@x> (queued)\n" V
       "splitrelay[6]: 6A00000000000001: to=<a@a.test>, dest=archive" RELAY "sent (250 a)\n" V
       "splitrelay[6]: 6A00000000000002: to=<a@a.test>, dest=newmail" RELAY "sent (250 n)\n",
     "a@a.test",
     "a@a.test: mail sent 250 primary; copy archive sent 250 a; copy newmail sent 250 n\n"},

    /* Sendmail */
    {T "sm-mta[1]: 4AU500ab000123: from=<s@sender.test>, size=12, class=0, nrcpts=2, "
       "msgid=<1@x>, proto=ESMTP, daemon=MTA, relay=c [192.0.2.1]\n" T
       "splitmilter[3]: 4AU500ab000123: to=<a@a.test>, copy=archive\n" U
       "sm-mta[2]: 4AU500ab000123: to=<" COPY(
           "a@a.test") ">, delay=00:00:01, xdelay=00:00:01, "
                       "mailer=copy, pri=1, relay=[127.0.0.1] [127.0.0.1], dsn=2.0.0, stat=Sent "
                       "(2.0.0 Ok: queued "
                       "as 6A00000000000001)\n" V
                       "splitrelay[6]: 6A00000000000001: to=<a@a.test>, dest=archive" RELAY
                       "sent (250 Ok)\n" V "sm-mta[2]: 4AU500ab000123: to=<a@a.test>,<b@a.test>, "
                       "delay=00:00:01, mailer=esmtp, "
                       "relay=h. [192.0.2.7], dsn=2.0.0, stat=Sent (x123 Message accepted for "
                       "delivery)\n",
     "a@a.test",
     "a@a.test: mail sent x123 Message accepted for delivery; copy archive sent 250 Ok\n"},
    {T "sm-mta[1]: 4AU500ab000123: from=<s@sender.test>, size=12, relay=c [192.0.2.1]\n" U
       "sm-mta[2]: 4AU500ab000123: to=<a@a.test>, delay=00:00:01, mailer=esmtp, relay=h., "
       "dsn=4.0.0, stat=Deferred: Connection refused by h.\n",
     "a@a.test", "a@a.test: mail waits Deferred: Connection refused by h.\n"},
    {T "sm-mta[1]: 4AU500ab000123: from=<s@sender.test>, size=12, relay=c [192.0.2.1]\n" U
       "sm-mta[2]: 4AU500ab000123: to=<a@a.test>, ctladdr=<s@sender.test> (1000/8), "
       "delay=00:00:01, mailer=local, dsn=5.1.1, stat=User unknown\n",
     "a@a.test", "a@a.test: mail bounced User unknown\n"},

    /* nothing is in the queue before qmgr(8) says so */
    {T "postfix/smtpd[1]: 4Xy1234567z: client=c[192.0.2.1]\n" U
       "postfix/smtpd[1]: lost connection after DATA (4711 bytes) from c[192.0.2.1]\n",
     "4Xy1234567z",
     ": mail unknown \nmissing: whether 4Xy1234567z came into the queue of postfix\n"},
    {T "postfix/smtpd[1]: 4Xy1234567z: client=c[192.0.2.1]\n" T
       "postfix/cleanup[2]: 4Xy1234567z: message-id=<1@x>\n" T
       "postfix/cleanup[2]: 4Xy1234567z: discard: header Subject: x; from=<e@e.test> to=<f@f.test> "
       "proto=E helo=<h>: y from c[192.0.2.1]; from=<s@sender.test> to=<a@a.test> proto=ESMTP "
       "helo=<c>: silently\n",
     "a@a.test",
     "a@a.test: mail deleted discard: header Subject: x; from=<e@e.test> to=<f@f.test> proto=E "
     "helo=<h>: y from c[192.0.2.1]; from=<s@sender.test> to=<a@a.test> proto=ESMTP helo=<c>: "
     "silently\n"},
    {T "postfix/smtpd[1]: 4Xy1234567z: client=c[192.0.2.1]\n" T
       "postfix/cleanup[2]: 4Xy1234567z: hold: header Subject: x from c[192.0.2.1]; "
       "from=<s@sender.test> to=<a@a.test> proto=ESMTP helo=<c>: look\n" T
       "postfix/qmgr[3]: 4Xy1234567z: from=<s@sender.test>, size=12, nrcpt=1 (queue active)\n",
     "a@a.test", "a@a.test: mail held \n"},
    /* orders of postsuper(1) */
    {FRONT U "postfix-in/smtp[5]: 4Xy1234567z: to=<a@a.test>" RELAY "deferred (later)\n" U
             "postfix-in/postsuper[9]: 4Xy1234567z: placed on hold\n",
     "a@a.test", "a@a.test: mail held later\n"},
    {FRONT U "postfix-in/smtp[5]: 4Xy1234567z: to=<a@a.test>" RELAY "deferred (later)\n" U
             "postfix-in/postsuper[9]: 4Xy1234567z: placed on hold\n" V
             "postfix-in/postsuper[9]: 4Xy1234567z: released from hold\n",
     "a@a.test", "a@a.test: mail waits later\n"},
    {FRONT U
     "postfix-in/smtp[5]: 4Xy1234567z: to=<a@a.test>" RELAY "deferred (later)\n" U
     "postfix-in/postsuper[9]: 4Xy1234567z: requeued\n" U
     "postfix-in/pickup[9]: 4Xy1234569z: uid=110 from=<s@sender.test> orig_id=4Xy1234567z\n" U
     "postfix-in/cleanup[9]: 4Xy1234569z: message-id=<1@x>\n" V
     "postfix-in/smtp[5]: 4Xy1234569z: to=<a@a.test>" RELAY "sent (250 ok)\n",
     "a@a.test", "a@a.test: mail sent 250 ok\n"},
    {FRONT U "postfix-in/smtp[5]: 4Xy1234567z: to=<a@a.test>" RELAY "deferred (later)\n" U
             "postfix-in/postsuper[9]: 4Xy1234567z: requeued\n",
     "a@a.test",
     "a@a.test: mail unknown later\nmissing: the new id of 4Xy1234567z in postfix-in\n"},
    /* local(8) gives mail back to the queue */
    {FRONT U "postfix-in/local[5]: 4Xy1234567z: to=<root@a.test>, orig_to=<root>, relay=local, "
             "delay=0, status=sent (forwarded as 4Xy1234569z)\n" V
             "postfix-in/smtp[5]: 4Xy1234569z: to=<admin@b.test>, orig_to=<root>, "
             "relay=h[192.0.2.9]:25, delay=0, status=bounced (550 unknown)\n",
     "root@a.test", "root: mail bounced 550 unknown\n"},
    /* a server elsewhere cannot name an id of ours ... */
    {FRONT U
     "postfix-in/smtpd[1]: 4Xy1234569z: client=mx.evil.test[192.0.2.66]\n" U
     "postfix-in/cleanup[1]: 4Xy1234569z: message-id=<1@x>\n" U
     "postfix-in/smtp[5]: 4Xy1234567z: to=<eve@evil.test>, relay=mx.evil.test[192.0.2.66]:25, "
     "delay=0, status=sent (250 2.0.0 Ok: queued as 4Xy1234569z)\n" V
     "postfix-in/smtp[5]: 4Xy1234569z: to=<eve@evil.test>, relay=mx.evil.test[192.0.2.66]:25, "
     "delay=0, status=bounced (550 no)\n",
     "s@sender.test",
     "eve@evil.test: mail sent 250 2.0.0 Ok: queued as 4Xy1234569z\n" NO_LINE("2", "3")},
    /* ... but a host of the log, a filter, and one whose own line has the first id can */
    {FRONT U "postfix-in/smtp[5]: 4Xy1234567z: to=<a@a.test>, relay=mx[192.0.2.66]:25, delay=0, "
             "status=sent (250 2.0.0 Ok: queued as 4Xy1234568z)\n" V
             "postfix-out/lmtp[9]: 4Xy1234568z: to=<a@a.test>" RELAY "bounced (550 no)\n",
     "s@sender.test", "a@a.test: mail bounced 550 no\n" NO_LINE("2", "3")},
    {FRONT U "postfix-in/smtp[5]: 4Xy1234567z: to=<" FILTER(
         "a@a.test") ">, relay=f[192.0.2.66]:25, "
                     "delay=0, status=sent (250 2.0.0 Ok: queued as 4Xy1234568z)\n" V
                     "postfix-out/lmtp[9]: 4Xy1234568z: to=<a@a.test>" RELAY "bounced (550 no)\n",
     "s@sender.test", "a@a.test: mail secondary bounced 550 no\n" NO_LINE("1", "2")},
    /* recipients without a line: not in an answer about another recipient */
    {FRONT U "postfix-in/lmtp[5]: 4Xy1234567z: to=<a@a.test>" RELAY "sent (250 ok)\n" U
             "postfix-in/lmtp[5]: 4Xy1234567z: to=<b@a.test>" RELAY "deferred (later)\n" V
             "postfix-in/lmtp[5]: 4Xy1234567z: to=<b@a.test>" RELAY "sent (250 ok)\n",
     "4Xy1234567z",
     "a@a.test: mail sent 250 ok\n" NO_LINE("1", "3") "b@a.test: mail sent 250 ok\n" NO_LINE("1",
                                                                                             "3")},
    {FRONT T "splitmilter[3]: 4Xy1234567z: to=<a@a.test>, canonical=<c@a.test>\n" U
             "postfix-in/lmtp[5]: 4Xy1234567z: to=<c@a.test>" RELAY "sent (250 ok)\n" U
             "postfix-in/lmtp[5]: 4Xy1234567z: to=<b@a.test>" RELAY "sent (250 ok)\n",
     "4Xy1234567z", "a@a.test: mail sent 250 ok\nb@a.test: mail sent 250 ok\n"},
    {FRONT U "postfix-in/lmtp[5]: 4Xy1234567z: to=<a@a.test>" RELAY "sent (250 ok)\n", "a@a.test",
     "a@a.test: mail sent 250 ok\n"},
    /* a quoted sender looks like the end of the line */
    {FRONT T "postfix-in/smtpd[1]: 4Xy1234567z: reject: RCPT from c[192.0.2.1]: 554 5.7.1 "
             "<gone@a.test>: Access denied; from=<\"; from=<ceo@f.test> to=<ben@a.test> proto=E "
             "helo=<y\"@sender.test> to=<gone@a.test> proto=ESMTP helo=<c>\n",
     "gone@a.test",
     "gone@a.test: mail refused reject: RCPT from c[192.0.2.1]: 554 5.7.1 <gone@a.test>: Access "
     "denied\n"},
    {FRONT T "postfix-in/smtpd[1]: 4Xy1234567z: reject: RCPT from c[192.0.2.1]: 554 5.7.1 "
             "<gone@a.test>: Access denied; from=<\"; from=<ceo@f.test> to=<ben@a.test> proto=E "
             "helo=<y\"@sender.test> to=<gone@a.test> proto=ESMTP helo=<c>\n",
     "ben@a.test", ""},
    /* refused at first, then sent */
    {T "postfix-in/smtpd[1]: 4Xy1234567z: client=c[192.0.2.1]\n" T
       "postfix-in/smtpd[1]: 4Xy1234567z: milter-reject: RCPT from c[192.0.2.1]: 451 4.7.1 later; "
       "from=<s@sender.test> to=<a@a.test> proto=ESMTP helo=<c>\n" U
       "postfix-in/lmtp[5]: 4Xy1234567z: to=<a@a.test>" RELAY "sent (250 ok)\n",
     "a@a.test", "a@a.test: mail sent 250 ok\n"},
    /* words in addresses are no states */
    {T "postfix/smtpd[1]: 4Xy1234567z: client=c[192.0.2.1]\n" T
       "postfix/qmgr[3]: 4Xy1234567z: from=<status=expired@sender.test>, size=1, nrcpt=1 (queue "
       "active)\n" U "postfix/smtp[5]: 4Xy1234567z: to=<a@a.test>" RELAY "deferred (later)\n",
     "a@a.test", "a@a.test: mail waits later\n"},
    {FRONT U
     "postfix-in/smtp[5]: 4Xy1234567z: to=<a@a.test>" RELAY "deferred (later)\n" V
     "postfix-in/qmgr[3]: 4Xy1234567z: from=<s@sender.test>, status=force-expired, returned "
     "to sender\n" V "postfix-in/qmgr[3]: 4Xy1234567z: removed\n",
     "a@a.test", "a@a.test: mail bounced later\n"},
    /* a Message-ID is no list of fields */
    {T "postfix/smtpd[1]: 4Xy1234567z: client=c[192.0.2.1]\n" T
       "postfix/cleanup[3]: 4Xy1234567z: message-id=<a@x>, from=<ceo@f.test>, status=refused (550 "
       "blocked>\n" U "postfix/smtp[5]: 4Xy1234567z: to=<a@a.test>" RELAY "sent (250 ok)\n",
     "a@a.test", "a@a.test: mail sent 250 ok\n"},
    {T "postfix/smtpd[1]: 4Xy1234567z: client=c[192.0.2.1]\n" T
       "postfix/cleanup[3]: 4Xy1234567z: message-id=<a@x>, from=<ceo@f.test>, status=refused (550 "
       "blocked>\n" U "postfix/smtp[5]: 4Xy1234567z: to=<a@a.test>" RELAY "sent (250 ok)\n",
     "ceo@f.test", ""},
    {U "splitrelay[6]: 6A00000000000001: from=<s@sender.test>, size=1, nrcpt=1, dest=archive, "
       "queue_id=-, message-id=<a@x>, status=refused (550 forged> (queued)\n" OUTCOME(
           "sent (250 Ok)"),
     "anna@a.test",
     "anna@a.test: mail unknown ; copy archive sent 250 Ok\n"
     "missing: what became of the mail itself\n"},
    {"{\"time\":\"2026-11-30T05:00:01Z\",\"program\":\"splitrelay\",\"copy_id\":"
     "\"6A00000000000001\",\"dest\":\"archive\",\"message_id\":\"a@x>, queue_id=4Xy1234567z, "
     "status=refused (550 forged\",\"from\":\"s@sender.test\",\"status\":\"queued\"}\n" OUTCOME(
         "sent (250 Ok)"),
     "anna@a.test",
     "anna@a.test: mail unknown ; copy archive sent 250 Ok\n"
     "missing: what became of the mail itself\n"},
    {FRONT DECISIONS TO_FILTER OUT U
     "amavis[11]: (11-01) Blocked INFECTED {DiscardedInbound}, [192.0.2.66] <s@evil.test> -> "
     "<eve@evil.test>, Queue-ID: 4Xy1234511z, Message-ID: <x, Queue-ID: 4Xy1234567z, "
     "y@evil.test>, mail_id: x, Hits: -, size: 1, 512 ms\n",
     "ben@a.test", "ben@a.test: mail secondary bounced 550 5.1.1 unknown\n"},
    /* objects of other programs */
    {FRONT U "webapp[4]: {\"program\":\"postfix/smtp\",\"queue_id\":\"4Xy1234567z\",\"to\":"
             "\"a@a.test\",\"status\":\"sent\",\"relay\":\"mx\",\"reason\":\"250 ok\"}\n" U
             "splitrelay[4]: {\"program\":\"postfix/smtp\",\"queue_id\":\"4Xy1234567z\",\"to\":"
             "\"a@a.test\",\"status\":\"sent\",\"relay\":\"mx\",\"reason\":\"250 ok\"}\n",
     "a@a.test", ""},
    /* a short id is used again, and the lines about the end and the client are missing */
    {T "postfix/smtpd[1]: 0A1B2C3D4E: client=c[192.0.2.1]\n" T
       "postfix/cleanup[1]: 0A1B2C3D4E: message-id=<old@x>\n" T
       "postfix/qmgr[1]: 0A1B2C3D4E: from=<a@old.test>, size=1, nrcpt=1 (queue active)\n" T
       "postfix/lmtp[9]: 0A1B2C3D4E: to=<bob@old.test>" RELAY "deferred (451 first)\n" V
       "postfix/cleanup[1]: 0A1B2C3D4E: message-id=<new@x>\n" V
       "postfix/lmtp[9]: 0A1B2C3D4E: to=<anna@a.test>" RELAY "sent (250 second)\n",
     "anna@a.test",
     "anna@a.test: mail sent 250 second\nmissing: the arrival of 0A1B2C3D4E in postfix\n"},
    /* a service has a name of its own in the log */
    {T "postfix-submission/smtpd[1]: 4Xy1234567z: client=c[192.0.2.1]\n" T
       "postfix/cleanup[1]: 4Xy1234567z: message-id=<1@x>\n" T
       "postfix/qmgr[1]: 4Xy1234567z: from=<a@a.test>, size=1, nrcpt=1 (queue active)\n" T
       "postfix/lmtp[9]: 4Xy1234567z: to=<b@a.test>" RELAY "sent (250 ok)\n",
     "4Xy1234567z", "b@a.test: mail sent 250 ok\n"},
    /* status words, RFC 5424 */
    {FRONT U "postfix-in/smtp[5]: 4Xy1234567z: to=<a@a.test>" RELAY "SOFTBOUNCE (550 no)\n",
     "a@a.test", "a@a.test: mail waits 550 no\n"},
    {"<22>1 2026-11-30T05:00:00.1Z mx postfix/smtpd 123 - - 4Xy1234567z: client=c[192.0.2.1]\n"
     "<22>1 2026-11-30T05:00:01+00:00 mx postfix/lmtp - - [a b=\"\\\"]\"][c] \xef\xbb\xbf"
     "4Xy1234567z: to=<a@a.test>" RELAY "sent (250 ok)\n",
     "a@a.test", "a@a.test: mail sent 250 ok\n"},
    /* Sendmail: the class of dsn= decides; nothing is in the queue without recipients */
    {T "sm-mta[1]: 4AU500ab000123: from=<s@sender.test>, size=12, nrcpts=1, relay=c [192.0.2.1]\n" U
       "sm-mta[2]: 4AU500ab000123: to=<a@a.test>, delay=00:00:01, dsn=4.0.0, stat=I/O error\n",
     "a@a.test", "a@a.test: mail waits I/O error\n"},
    {T "sm-mta[1]: 4AU500ab000123: from=<s@sender.test>, size=12, nrcpts=1, relay=c [192.0.2.1]\n" U
       "sm-mta[2]: 4AU500ab000123: to=<a@a.test>, delay=00:00:01, dsn=4.2.1, stat=<a@a.test>, x\n",
     "a@a.test", "a@a.test: mail waits <a@a.test>, x\n"},
    {T "sm-mta[1]: 4AU500ab000123: from=<s@sender.test>, size=0, nrcpts=0, relay=c [192.0.2.1]\n",
     "s@sender.test",
     ": mail unknown \nmissing: whether 4AU500ab000123 came into the queue of sm-mta\n"},
    {T "sm-mta[1]: 4AU500ab000123: from=<s@sender.test>, size=12, nrcpts=1, relay=c [192.0.2.1]\n" U
       "sm-mta[2]: 4AU500ab000123: to=<a@a.test>, delay=00:00:01, mai",
     "a@a.test",
     "a@a.test: mail unknown \nmissing: the outcome of a delivery of 4AU500ab000123, whose line is "
     "cut\n"},
    /* amavis has thrown it away */
    {FRONT T "splitmilter[3]: 4Xy1234567z: to=<ben@a.test>, filter=secondary\n" U
             "postfix-in/smtp[5]: 4Xy1234567z: to=<" FILTER(
                 "ben@a.test") ">" RELAY "sent (250 2.7.0 Ok, discarded, id=1-1 - spam)\n",
     "ben@a.test", "ben@a.test: mail secondary deleted 250 2.7.0 Ok, discarded, id=1-1 - spam\n"},
    /* orders about copies, without the queue */
    {TAKEN OUTCOME("deferred (timeout)") V
     "splitrelay[6]: 6A00000000000001: dest=archive: deleted by an administrator\n",
     "anna@a.test",
     "anna@a.test: mail unknown ; copy archive deleted timeout\n"
     "missing: what became of the mail itself\nmissing: the lines of the MTA about 4Xy1234567z\n"},
};

static const char *state_name(enum trace_end_state state)
{
    static const char *const names[] = {"sent",    "waits",   "held",    "dead",   "bounced",
                                        "refused", "deleted", "skipped", "unknown"};

    return names[state];
}

static void write_way(const struct trace_way *w, struct buf *out)
{
    size_t written = 0;

    buf_addf(out, "%s:", w->recipient);
    for (int copy = 0; copy < 2; copy++) /* the mail first, then the copies */
        for (size_t i = 0; i < w->end_count; i++) {
            const struct trace_end *e = &w->ends[i];
            if (e->is_copy == (copy == 1))
                buf_addf(out, "%s %s%s%s %s %s", written++ == 0 ? "" : ";",
                         e->is_copy ? "copy" : "mail", e->name[0] == '\0' ? "" : " ", e->name,
                         state_name(e->state), e->why);
        }
    buf_addc(out, '\n');
    for (size_t i = 0; i < w->missing_count; i++)
        buf_addf(out, "missing: %s\n", w->missing[i]);
    for (size_t i = 1; i < w->step_count; i++)
        ck_assert_int_le(w->steps[i - 1].us, w->steps[i].us);
    for (size_t i = 0; i < w->step_count; i++) /* each line is shown once */
        for (size_t k = 0; k < i && w->steps[i].serial != TRACE_NONE; k++)
            ck_assert_uint_ne(w->steps[k].serial, w->steps[i].serial);
}

/* Noon of 2026-12-01 in UTC: the present time of the tests. */
#define NOW 1796126400

static char *word_list[1];
static struct trace_words *words;

/* An empty log for a word. */
static struct trace_log *new_log(const char *word)
{
    word_list[0] = mem_strdup(word);
    words = trace_words_new(word_list, 1, "split.invalid");
    return trace_log_new(NOW, words);
}

static void free_log(struct trace_log *log)
{
    trace_log_free(log);
    trace_words_free(words);
    free(word_list[0]);
}

static void add_file(struct trace_log *log, const char *text)
{
    trace_log_begin_file(log, 0);
    while (*text != '\0') {
        size_t len = strcspn(text, "\n");
        trace_log_add(log, text, len);
        text += len + (text[len] == '\n');
    }
}

static void settle(struct trace_log *log)
{
    (void)trace_log_settle(log);
    trace_log_forget(log);
    trace_log_sort(log);
    trace_join(log, "split.invalid");
}

static struct trace_log *read_log(const char *text, const char *word)
{
    struct trace_log *log = new_log(word);

    add_file(log, text);
    settle(log);
    return log;
}

static const char *own_host;
static bool is_unread;

static void trace(struct trace_log *log, trace_copy_find *find, struct buf *out)
{
    char unread[] = "the log x", *all_unread[] = {unread};
    const struct trace_way_options o = {.log = log,
                                        .words = words,
                                        .tag_domain = "split.invalid",
                                        .find = find,
                                        .host = own_host,
                                        .unread = all_unread,
                                        .unread_count = is_unread};
    uint32_t *roots;

    trace_words_mark(words, log);
    size_t count = trace_way_roots(&o, &roots);
    for (size_t i = 0; i < count; i++) {
        struct trace_way *ways;
        size_t n = trace_ways(&o, roots[i], &ways);
        for (size_t k = 0; k < n; k++)
            if (ways[k].is_wanted)
                write_way(&ways[k], out);
        trace_ways_free(ways, n);
    }
    free(roots);
}

START_TEST(ways_are_what_the_log_says)
{
    struct trace_log *log = read_log(rows[_i].log, rows[_i].word);
    struct buf out = {0};

    trace(log, NULL, &out);
    ck_assert_str_eq(buf_str(&out), rows[_i].result);
    buf_clear(&out);
    free_log(log);
}
END_TEST

/* What the queue says of each copy in find_fixed(), and the host that has this queue. */
static const struct trace_copy *answer;

static void find_fixed(void *ctx, struct slice id, const struct slice *names, size_t name_count,
                       struct trace_copy *out)
{
    (void)ctx;
    ck_assert(slice_is(id, "6A00000000000001"));
    bool is_named = false;
    for (size_t i = 0; i < name_count; i++)
        is_named |= slice_is(names[i], "anna@a.test");
    ck_assert(is_named);
    *out = *answer;
    out->destination = mem_strdup(answer->destination);
    out->why = mem_strdup(answer->why);
    out->relay = mem_strdup(answer->relay);
}

static const struct {
    const char *log;
    struct trace_copy copy;
    const char *result;
    const char *host;
} queue_rows[] = {
    /* the log has nothing of the copy */
    {FRONT TO_COPY,
     {TRACE_COPY_IN_QUEUE, (char *)"archive", (char *)"refused", (char *)"", 5, 0},
     "anna@a.test: mail waits ; copy archive waits refused\n",
     NULL},
    {FRONT TO_COPY,
     {TRACE_COPY_SENT, (char *)"archive", (char *)"250 Ok", (char *)"h:25", 0, 5},
     "anna@a.test: mail waits ; copy archive sent 250 Ok\n",
     NULL},
    {FRONT TO_COPY,
     {TRACE_COPY_SENT, (char *)"other", (char *)"250 Ok", (char *)"h:25", 0, 5},
     "anna@a.test: mail waits ; copy archive unknown 250 2.0.0 Ok: queued as 6A00000000000001\n"
     "missing: what splitrelay did with the copy for archive (250 2.0.0 Ok: queued as "
     "6A00000000000001)\n",
     NULL},
    /* the queue knows more than the log */
    {FRONT TO_COPY TAKEN,
     {TRACE_COPY_HELD, (char *)"archive", (char *)"", (char *)"", 0, 0},
     "anna@a.test: mail waits ; copy archive held \n",
     NULL},
    {FRONT TO_COPY TAKEN OUTCOME("deferred (timeout)"),
     {TRACE_COPY_DELETED, (char *)"archive", (char *)"timeout", (char *)"", 0, 0},
     "anna@a.test: mail waits ; copy archive deleted timeout\n",
     NULL},
    {FRONT TO_COPY TAKEN OUTCOME("deferred (timeout)"),
     {TRACE_COPY_NOWHERE, (char *)"", (char *)"", (char *)"", 0, 0},
     "anna@a.test: mail waits ; copy archive unknown timeout\n"
     "missing: how copy 6A00000000000001 left the queue\n",
     NULL},
    {FRONT TO_COPY TAKEN OUTCOME("deferred (timeout)"),
     {TRACE_COPY_NOWHERE, (char *)"", (char *)"", (char *)"", 0, 0},
     "anna@a.test: mail waits ; copy archive unknown timeout\n"
     "missing: how copy 6A00000000000001 left the queue\n",
     "MX.a.test"},
    {"Nov 30 05:00:02 mx.a.test splitrelay[6]: 6A00000000000001: to=<anna@a.test>, "
     "dest=archive" RELAY "deferred (timeout)\n",
     {TRACE_COPY_NOWHERE, (char *)"", (char *)"", (char *)"", 0, 0},
     "anna@a.test: mail unknown ; copy archive unknown timeout\n"
     "missing: how copy 6A00000000000001 left the queue\n"
     "missing: what became of the mail itself\n",
     "mx"},
    /* the log is that of another host, and so is its queue */
    {FRONT TO_COPY TAKEN OUTCOME("deferred (timeout)"),
     {TRACE_COPY_NOWHERE, (char *)"", (char *)"", (char *)"", 0, 0},
     "anna@a.test: mail waits ; copy archive waits timeout\n"
     "missing: what the queue of mx says of copy 6A00000000000001: this host is mx2\n",
     "mx2"},
    {FRONT TO_COPY TAKEN OUTCOME("dead (550 no)"),
     {TRACE_COPY_NOWHERE, (char *)"", (char *)"", (char *)"", 0, 0},
     "anna@a.test: mail waits ; copy archive dead 550 no\n"
     "missing: what the queue of mx says of copy 6A00000000000001: this host is mx2\n",
     "mx2"},
    {FRONT TO_COPY TAKEN OUTCOME("deferred (timeout)"),
     {TRACE_COPY_HELD, (char *)"archive", (char *)"", (char *)"", 0, 0},
     "anna@a.test: mail waits ; copy archive held \n",
     "mx2"},
};

/* The same when there is no memory for all lines, and the files are read again. */
START_TEST(files_are_read_again)
{
    struct trace_log *log = new_log(rows[_i].word);
    struct buf out = {0};

    log->memory_max = 1;
    log->when_full = TRACE_LOG_READS_AGAIN;
    add_file(log, "");
    trace_log_add(log, T "postfix/smtpd[1]: 4Xy1239999z: client=c[192.0.2.1]", 61);
    ck_assert_int_eq(log->mode, TRACE_LOG_NOTES);
    ck_assert(log->is_full); /* a byte is little */
    log->is_full = false;
    log->memory_max = SIZE_MAX;
    trace_log_begin_again(log);
    log->mode = TRACE_LOG_NOTES;
    trace_select_freeze(log->select, false);
    add_file(log, rows[_i].log);
    ck_assert(!trace_log_settle(log));
    trace_log_begin_again(log);
    add_file(log, rows[_i].log);
    settle(log);
    trace(log, NULL, &out);
    ck_assert_str_eq(buf_str(&out), rows[_i].result);
    buf_clear(&out);
    free_log(log);
}
END_TEST

START_TEST(the_queue_is_asked_about_copies)
{
    struct trace_log *log = read_log(queue_rows[_i].log, "anna@a.test");
    struct buf out = {0};

    answer = &queue_rows[_i].copy;
    own_host = queue_rows[_i].host;
    trace(log, find_fixed, &out);
    ck_assert_str_eq(buf_str(&out), queue_rows[_i].result);
    buf_clear(&out);
    free_log(log);
}
END_TEST

START_TEST(lines_of_unknown_time_are_counted)
{
    static const char text[] = FRONT "Okt 30 05:00:00 mx postfix/smtpd[1]: 4Xy1234569z: client=c\n"
                                     "\n-- Boot 1 --\n    second line\n"
                                     "30. Nov 05:00:00 mx postfix/smtpd[1]: x\n";
    struct trace_log *log = read_log(text, "4Xy1234569z");
    struct slice id = {"4Xy1234569z", 11};

    ck_assert_uint_eq(log->unstamped, 2);
    ck_assert_str_eq(log->first_unstamped,
                     "Okt 30 05:00:00 mx postfix/smtpd[1]: 4Xy1234569z: client=c");
    ck_assert_uint_eq(trace_log_find(log, id), TRACE_NONE);
    free_log(log);
}
END_TEST

/* Lines that two files have in common count once. */
START_TEST(files_may_overlap)
{
    static const char text[] = FRONT DECISIONS TO_FILTER TO_COPY OUT TAKEN OUTCOME("sent (250 Ok)");
    struct trace_log *log = new_log("anna@a.test");
    struct buf out = {0};

    add_file(log, text);
    add_file(log, text);
    settle(log);
    trace(log, NULL, &out);
    ck_assert_str_eq(
        buf_str(&out),
        "anna@a.test: mail secondary sent 250 2.0.0 saved; copy archive sent 250 Ok\n");
    const struct trace_message *m =
        &log->messages[trace_log_find(log, (struct slice){"4Xy1234567z", 11})];
    ck_assert_uint_eq(m->event_count, 3 + 2 + 2 + 1);
    buf_clear(&out);
    free_log(log);
}
END_TEST

/* A decision of splitmilter has no end by which a cut could be seen, other than its length. */
START_TEST(a_decision_of_the_length_of_a_cut_may_be_cut)
{
    struct buf text = {0}, out = {0};

    buf_adds(&text, FRONT T "splitmilter[3]: 4Xy1234567z: to=<anna@a.test>, canonical=<");
    size_t begin =
        text.len - strlen(T "splitmilter[3]: 4Xy1234567z: to=<anna@a.test>, canonical=<");
    while (text.len - begin < 1000)
        buf_addc(&text, 'x');
    buf_adds(&text, "@x>, copy=archi");
    struct trace_log *log = read_log(buf_str(&text), "anna@a.test");
    trace(log, NULL, &out);
    ck_assert_str_eq(buf_str(&out),
                     "anna@a.test: mail waits \n"
                     "missing: the end of the line of splitmilter, if syslog has cut it\n");
    buf_clear(&text);
    buf_clear(&out);
    free_log(log);
}
END_TEST

/* Daemons cut at other lengths, too: then the longest lines of the file are equally long. */
START_TEST(the_longest_lines_of_a_file_may_be_cut)
{
    static const char begin[] = T "splitmilter[3]: 4Xy1234567z: to=<anna@a.test>, canonical=<";

    for (int lines = 1; lines <= 2; lines++) {
        struct buf text = {0}, out = {0};
        buf_adds(&text, FRONT);
        for (int i = 0; i < lines; i++) {
            size_t at = text.len;
            buf_adds(&text, begin);
            if (i > 0)
                text.data[at + strlen(T "splitmilter[3]: 4Xy123456")] = '0';
            while (text.len - at < 480)
                buf_addc(&text, 'x');
            buf_adds(&text, "@x>, copy=newmail,archi\n");
        }
        struct trace_log *log = read_log(buf_str(&text), "anna@a.test");
        trace(log, NULL, &out);
        ck_assert_int_eq(strstr(buf_str(&out), "copy archi waits") != NULL, lines == 1);
        ck_assert_int_eq(strstr(buf_str(&out), "the end of the line of splitmilter") != NULL,
                         lines == 2);
        buf_clear(&text);
        buf_clear(&out);
        free_log(log);
    }
}
END_TEST

START_TEST(what_could_not_be_read_is_missing)
{
    struct trace_log *log = read_log(FRONT DECISIONS, "ben@a.test");
    struct buf out = {0};

    is_unread = true;
    trace(log, NULL, &out);
    ck_assert_str_eq(buf_str(&out), "ben@a.test: mail secondary waits \nmissing: the log x\n");
    buf_clear(&out);
    free_log(log);
}
END_TEST

/* An object that was cut is no object. */
START_TEST(broken_objects_are_counted)
{
    struct trace_log *log =
        read_log(U "splitrelay[6]: {\"program\":\"splitrelay\",\"copy_id\":\"6A0\n" U
                   "splitrelay[6]: {\"program\":\"splitrelay\",\"message\":\"x\"}\n",
                 "x");

    ck_assert_uint_eq(log->unstamped, 1);
    free_log(log);
}
END_TEST

/* Only lines that the word may be about are kept; others wait, because a later line may connect
 * them. */
START_TEST(lines_wait_until_they_are_selected)
{
    struct trace_log *log = new_log("anna@a.test");

    trace_log_follow(log);
    add_file(log, T "postfix-x/smtpd[1]: 4Xy1234560z: client=c[192.0.2.1]\n" OUT T
                    "postfix-x/smtpd[1]: 4Xy1234561z: client=c[192.0.2.1]\n" T
                    "unrelated[1]: 4Xy1234561z: to=<anna@a.test>\n");
    ck_assert(!trace_log_settle(log));
    ck_assert_uint_eq(log->kept.count, 0);
    ck_assert_uint_eq(log->recent.count, 6);
    ck_assert_uint_eq(log->tag_count, 4); /* other programs take no memory */
    add_file(log, T "postfix-in/smtpd[1]: 4Xy1234567z: client=c[192.0.2.1]\n");
    ck_assert(!trace_log_settle(log));
    add_file(log, TO_FILTER);
    ck_assert(!trace_log_settle(log)); /* a connection, but not with the word */
    add_file(log, U "postfix-in/lmtp[9]: 4Xy1234567z: to=<anna@a.test>" RELAY "sent (250 x)\n");
    ck_assert(trace_log_settle(log));
    ck_assert_uint_eq(log->kept.count, 8);
    ck_assert_uint_eq(log->recent.count, 2);
    ck_assert(!trace_log_settle(log));
    free_log(log);
}
END_TEST

/* While logs are followed, lines that have waited long are forgotten. */
START_TEST(lines_that_wait_for_long_are_forgotten)
{
    struct trace_log *log = new_log("anna@a.test");
    char line[] = T "postfix/smtpd[1]: 4X00000000z: client=c[192.0.2.1]          ";

    trace_log_follow(log);
    log->memory_max = 4U << 20;
    for (int i = 0; i < 100000; i++) {
        snprintf(line, sizeof line, T "postfix/smtpd[1]: 4X%08dz: client=c[192.0.2.1]", i);
        trace_log_add(log, line, strlen(line));
        ck_assert_uint_le(log->recent.bytes + log->older.bytes, log->memory_max);
    }
    ck_assert(!log->is_full);
    ck_assert_uint_gt(log->recent.count + log->older.count, 5000);
    add_file(log, V "postfix/lmtp[9]: 4X00000001z: to=<anna@a.test>" RELAY "sent (250 x)\n" V
                    "postfix/lmtp[9]: 4X00099998z: to=<anna@a.test>" RELAY "sent (250 x)\n");
    ck_assert(trace_log_settle(log));
    ck_assert_uint_eq(log->kept.count, 3); /* the arrival of the first one is gone */
    ck_assert_uint_gt(log->older.count, 0);
    snprintf(line, sizeof line, V "postfix/lmtp[9]: %.11s: to=<anna@a.test>, x",
             log->older.events[0].text);
    trace_log_add(log, line, strlen(line));
    ck_assert(trace_log_settle(log));
    ck_assert_uint_eq(log->kept.count, 5);
    free_log(log);
}
END_TEST

/* New lines are read, also if the old ones were too many. */
START_TEST(a_full_log_can_be_followed)
{
    struct trace_log *log = new_log("anna@a.test");

    log->memory_max = 300000;
    for (int i = 0; i < 5000; i++)
        add_file(log, T "postfix-x/smtpd[1]: 4Xy1234560z: client=c[192.0.2.1]\n");
    ck_assert(log->is_full);
    ck_assert(!trace_log_settle(log));
    trace_log_follow(log);
    add_file(log, V "postfix-x/lmtp[9]: 4Xy1234560z: to=<anna@a.test>" RELAY "sent (250 x)\n");
    ck_assert(trace_log_settle(log));
    ck_assert_uint_eq(log->kept.count, 1);
    free_log(log);
}
END_TEST

START_TEST(lines_outside_the_time_are_dropped)
{
    struct trace_log *log = new_log("anna@a.test");
    static const char line[] = T "postfix-in/smtpd[1]: 4Xy1234567z: client=client.test[192.0.2.1]";

    log->since_us = (int64_t)(NOW - 3600) * 1000000;
    trace_log_add(log, line, strlen(line));
    ck_assert_uint_eq(log->recent.count, 0);
    log->since_us = (int64_t)(NOW - 7 * 86400) * 1000000;
    trace_log_add(log, line, strlen(line));
    ck_assert_uint_eq(log->recent.count, 1);
    free_log(log);
}
END_TEST

int main(void)
{
    setenv("TZ", "UTC", 1);
    tzset();
    TCase *tests = tcase_create("trace_way");

    tcase_add_loop_test(tests, ways_are_what_the_log_says, 0, UNIT_COUNT(rows));
    tcase_add_loop_test(tests, files_are_read_again, 0, UNIT_COUNT(rows));
    tcase_add_loop_test(tests, the_queue_is_asked_about_copies, 0, UNIT_COUNT(queue_rows));
    tcase_add_test(tests, lines_of_unknown_time_are_counted);
    tcase_add_test(tests, files_may_overlap);
    tcase_add_test(tests, a_decision_of_the_length_of_a_cut_may_be_cut);
    tcase_add_test(tests, the_longest_lines_of_a_file_may_be_cut);
    tcase_add_test(tests, what_could_not_be_read_is_missing);
    tcase_add_test(tests, broken_objects_are_counted);
    tcase_add_test(tests, lines_wait_until_they_are_selected);
    tcase_add_test(tests, lines_that_wait_for_long_are_forgotten);
    tcase_add_test(tests, a_full_log_can_be_followed);
    tcase_add_test(tests, lines_outside_the_time_are_dropped);
    return unit_run("trace_way", tests);
}
