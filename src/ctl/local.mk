# SPDX-License-Identifier: ISC
# splitctl
sbin_PROGRAMS += splitctl
splitctl_SOURCES = \
	%D%/check.c \
	%D%/ctl.c %D%/ctl.h \
	%D%/explain.c %D%/explain.h \
	%D%/explain_print.c \
	%D%/json.c %D%/json.h \
	%D%/main.c \
	%D%/queue.c \
	%D%/reload.c \
	%D%/retry.c \
	%D%/setup_sendmail.c
splitctl_CPPFLAGS = $(AM_CPPFLAGS) -DPKGDATADIR='"$(pkgdatadir)"'
splitctl_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
splitctl_LDADD = librelay.a libsplit.a $(CONFUSE_LIBS) $(TABLE_LIBS) $(SYSTEMD_LIBS) $(JANSSON_LIBS)
