# SPDX-License-Identifier: ISC
# splitrelay: start, reload, control, and all of it together.
librelay_a_SOURCES += %D%/control.c %D%/control.h
librelay_a_SOURCES += %D%/control_line.c %D%/control_line.h
librelay_a_SOURCES += %D%/entry.c %D%/entry.h
librelay_a_SOURCES += %D%/query.c %D%/query.h
librelay_a_SOURCES += %D%/relay.c %D%/relay.h
librelay_a_SOURCES += %D%/relay_page.c %D%/relay_page.h

sbin_PROGRAMS += splitrelay
splitrelay_SOURCES = %D%/main.c
splitrelay_LDADD = librelay.a libsplit.a $(RELAY_LIBS) $(TABLE_LIBS) $(SYSTEMD_LIBS) $(MICROHTTPD_LIBS)
