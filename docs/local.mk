# SPDX-License-Identifier: ISC
# Manuals
dist_man_MANS += \
	%D%/splitctl.8 \
	%D%/splitmilter.7 \
	%D%/splitmilter.8 \
	%D%/splitmilter.conf.5 \
	%D%/splitrelay.8
dist_doc_DATA = \
	%D%/archives.md \
	%D%/containers.md \
	%D%/filters.md \
	%D%/from-gosmtp-dup.md \
	%D%/migration.md \
	%D%/oauth.md \
	%D%/operations.md \
	%D%/panels.md \
	%D%/postfix.md \
	%D%/queue.md \
	%D%/quickstart.md \
	%D%/scaling.md \
	%D%/sendmail.md \
	%D%/tables.md
EXTRA_DIST += \
	%D%/ARCHITECTURE.md \
	%D%/delivery.md \
	%D%/policy.md \
	%D%/set-up.md \
	%D%/tasks.md
