# SPDX-License-Identifier: ISC
# splitmilter: the callbacks of libmilter, on top of the core library.
sbin_PROGRAMS += splitmilter
splitmilter_SOURCES = \
	%D%/callbacks.c %D%/callbacks.h \
	%D%/complete.c %D%/complete.h \
	%D%/conn.c %D%/conn.h \
	%D%/counters.c %D%/counters.h \
	%D%/decision_log.c %D%/decision_log.h \
	%D%/envelope.c %D%/envelope.h \
	%D%/gate.c %D%/gate.h \
	%D%/gate_answer.c %D%/gate_answer.h \
	%D%/gate_link.c %D%/gate_link.h \
	%D%/headers.c %D%/headers.h \
	%D%/main.c \
	%D%/mta.c %D%/mta.h
splitmilter_LDADD = libsplit.a $(MILTER_LIBS) $(TABLE_LIBS) $(SYSTEMD_LIBS) $(MICROHTTPD_LIBS)
