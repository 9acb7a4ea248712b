# SPDX-License-Identifier: ISC
# Configuration, examples, and files for systemd. The directories can be set at make install.
splitconfdir = $(sysconfdir)/splitmilter
systemdsystemunitdir = $(prefix)/lib/systemd/system
sysusersdir = $(prefix)/lib/sysusers.d
tmpfilesdir = $(prefix)/lib/tmpfiles.d
examplesdir = $(docdir)/examples
mapsdir = $(examplesdir)/maps
grafanadir = $(examplesdir)/grafana
postfixdir = $(examplesdir)/postfix
prometheusdir = $(examplesdir)/prometheus
sendmaildir = $(pkgdatadir)/sendmail

dist_sysusers_DATA = %D%/sysusers.d/splitmilter.conf
dist_tmpfiles_DATA = %D%/tmpfiles.d/splitmilter.conf
dist_maps_DATA = %D%/maps/canonical %D%/maps/copy %D%/maps/filter
dist_postfix_DATA = \
	%D%/postfix/main.cf \
	%D%/postfix/master.cf \
	%D%/postfix/split_bounce \
	%D%/postfix/split_closed \
	%D%/postfix/split_transport \
	%D%/postfix/untag

dist_examples_DATA = %D%/pflogsumm.sed %D%/splitmilter.conf
dist_grafana_DATA = %D%/grafana/splitmilter.json
dist_prometheus_DATA = \
	%D%/prometheus/prometheus.yml \
	%D%/prometheus/splitmilter-status.service \
	%D%/prometheus/splitmilter-status.timer \
	%D%/prometheus/splitmilter.rules.yml

bashcompletiondir = $(datadir)/bash-completion/completions
dist_bashcompletion_DATA = %D%/bash-completion/splitctl

dist_sendmail_DATA = %D%/sendmail/splitmilter.m4
dist_pkgdata_DATA = %D%/etc/splitmilter.conf

systemdsystemunit_DATA = \
	%D%/systemd/splitmilter.service \
	%D%/systemd/splitmilter@.service \
	%D%/systemd/splitrelay.service
CLEANFILES += $(systemdsystemunit_DATA)
EXTRA_DIST += \
	%D%/systemd/splitmilter.service.in \
	%D%/systemd/splitmilter@.service.in \
	%D%/systemd/splitrelay.service.in

.service.in.service:
	$(AM_V_GEN)$(MKDIR_P) $(@D) && sed \
		-e 's|@sbindir[@]|$(sbindir)|g' \
		-e 's|@sysconfdir[@]|$(sysconfdir)|g' \
		-e 's|@SERVICE_TYPE[@]|$(SERVICE_TYPE)|g' $< >$@.tmp && mv $@.tmp $@
$(systemdsystemunit_DATA): Makefile
SUFFIXES = .service.in .service

EXTRA_DIST += %D%/left-to-do.sh
# Not for packages, which do these things by themselves.
install-data-hook:
	@test -n '$(DESTDIR)' || sh '$(srcdir)/%D%/left-to-do.sh' '$(sbindir)' '$(splitconfdir)' '$(sysusersdir)' '$(tmpfilesdir)' '$(systemdsystemunitdir)'

# The configuration is installed where there is none. Uninstall keeps an edited one.
install-data-local:
	$(MKDIR_P) '$(DESTDIR)$(splitconfdir)/conf.d'
	test -e '$(DESTDIR)$(splitconfdir)/splitmilter.conf' || \
		$(INSTALL_DATA) '$(srcdir)/%D%/etc/splitmilter.conf' '$(DESTDIR)$(splitconfdir)/splitmilter.conf'
uninstall-local:
	if cmp -s '$(srcdir)/%D%/etc/splitmilter.conf' '$(DESTDIR)$(splitconfdir)/splitmilter.conf'; then \
		rm -f '$(DESTDIR)$(splitconfdir)/splitmilter.conf'; fi
	rmdir '$(DESTDIR)$(splitconfdir)/conf.d' '$(DESTDIR)$(splitconfdir)' 2>/dev/null || :
