# SPDX-License-Identifier: ISC
# splitrelay: start, reload, control, and all of it together.
librelay_a_SOURCES += %D%/control.c %D%/control.h
librelay_a_SOURCES += %D%/control_line.c %D%/control_line.h
librelay_a_SOURCES += %D%/entry.c %D%/entry.h
librelay_a_SOURCES += %D%/criterion.c %D%/criterion.h
librelay_a_SOURCES += %D%/relay.c %D%/relay.h
librelay_a_SOURCES += %D%/relay_api.c %D%/relay_api.h %D%/relay_api_private.h
librelay_a_SOURCES += %D%/relay_api_copies.c
librelay_a_SOURCES += %D%/relay_api_status.c
librelay_a_SOURCES += %D%/relay_page.c %D%/relay_page.h
librelay_a_SOURCES += %D%/relay_rates.c %D%/relay_rates.h

# The files of the page, as C.
relay_page_files = \
	%D%/page/index.html \
	%D%/page/ask.js \
	%D%/page/page.css \
	%D%/page/page.js \
	%D%/page/parts.js \
	%D%/page/icon.svg
librelay_a_SOURCES += %D%/relay_files.h
nodist_librelay_a_SOURCES = %D%/relay_files.c
EXTRA_DIST += $(relay_page_files) %D%/page/embed.sh
CLEANFILES += %D%/relay_files.c
%D%/relay_files.c: $(relay_page_files) %D%/page/embed.sh
	$(AM_V_GEN)$(MKDIR_P) %D% && \
	    $(SHELL) $(srcdir)/%D%/page/embed.sh $(srcdir)/%D%/page $(relay_page_files) >$@.new && mv $@.new $@

sbin_PROGRAMS += splitrelay
splitrelay_SOURCES = %D%/main.c
splitrelay_LDADD = librelay.a libsplit.a $(RELAY_LIBS) $(TABLE_LIBS) $(SYSTEMD_LIBS) $(MICROHTTPD_LIBS)
