# SPDX-License-Identifier: ISC
# splitctl. The modules that tests use without the commands are in a library.
noinst_LIBRARIES += libctl.a
libctl_a_SOURCES = \
	%D%/setup/command.c %D%/setup/command.h \
	%D%/compare/compare_maildir.c %D%/compare/compare_maildir.h \
	%D%/compare/compare_message.c %D%/compare/compare_message.h \
	%D%/compare/compare_table.c %D%/compare/compare_table.h \
	%D%/ctl.c %D%/ctl.h \
	%D%/setup/diff.c %D%/setup/diff.h \
	%D%/setup/files.c %D%/setup/files.h \
	%D%/setup/files_attributes.c \
	%D%/setup/files_tree.c \
	%D%/setup/marked_text.c %D%/setup/marked_text.h \
	%D%/milter_list.c %D%/milter_list.h \
	%D%/setup/postfix.c %D%/setup/postfix.h \
	%D%/setup/postfix_review.c %D%/setup/postfix_review.h \
	%D%/setup/postfix_review_access.c \
	%D%/setup/postfix_review_by_hand.c \
	%D%/setup/postfix_review_milters.c \
	%D%/setup/postfix_review_routes.c \
	%D%/setup/setup_postfix.c %D%/setup/setup_postfix.h \
	%D%/setup/setup_postfix_bounces.c \
	%D%/setup/setup_postfix_check.c \
	%D%/setup/setup_postfix_edit.c \
	%D%/setup/setup_postfix_fallback.c \
	%D%/setup/setup_postfix_instances.c \
	%D%/setup/setup_postfix_after.c \
	%D%/setup/setup_postfix_local.c \
	%D%/setup/setup_postfix_milters.c \
	%D%/setup/setup_postfix_multi.c \
	%D%/setup/setup_postfix_options.c \
	%D%/setup/setup_postfix_remove.c \
	%D%/setup/setup_postfix_role.c \
	%D%/setup/setup_postfix_services.c \
	%D%/setup/setup_postfix_single.c \
	%D%/setup/setup_postfix_units.c \
	%D%/spawn.c %D%/spawn.h \
	%D%/setup/steps.c %D%/setup/steps.h \
	%D%/trace/trace_facts.c %D%/trace/trace_facts.h %D%/trace/trace_facts_private.h \
	%D%/trace/trace_facts_line.c \
	%D%/trace/trace_facts_text.c \
	%D%/trace/trace_input.c %D%/trace/trace_input.h \
	%D%/trace/trace_join.c %D%/trace/trace_join.h \
	%D%/trace/trace_keys.c %D%/trace/trace_keys.h \
	%D%/trace/trace_kind.c %D%/trace/trace_kind.h \
	%D%/trace/trace_line.c %D%/trace/trace_line.h \
	%D%/trace/trace_log.c %D%/trace/trace_log.h \
	%D%/trace/trace_log_messages.c \
	%D%/trace/trace_object.c %D%/trace/trace_object.h \
	%D%/trace/trace_pool.c %D%/trace/trace_pool.h \
	%D%/trace/trace_reader.c %D%/trace/trace_reader.h \
	%D%/trace/trace_select.c %D%/trace/trace_select.h \
	%D%/trace/trace_stamp.c %D%/trace/trace_stamp.h \
	%D%/trace/trace_way.c %D%/trace/trace_way.h %D%/trace/trace_way_private.h \
	%D%/trace/trace_way_end.c \
	%D%/trace/trace_way_index.c \
	%D%/trace/trace_way_part.c \
	%D%/trace/trace_way_recipients.c \
	%D%/trace/trace_way_root.c \
	%D%/trace/trace_way_text.c \
	%D%/trace/trace_when.c %D%/trace/trace_when.h \
	%D%/trace/trace_word.c %D%/trace/trace_word.h
libctl_a_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)

sbin_PROGRAMS += splitctl
splitctl_SOURCES = \
	%D%/change.c %D%/change.h \
	%D%/change_command.c \
	%D%/change_preview.c \
	%D%/check.c %D%/check.h \
	%D%/check_database.c \
	%D%/check_milter.c \
	%D%/check_postfix.c \
	%D%/check_relay.c \
	%D%/check_sockets.c \
	%D%/check_spool.c \
	%D%/check_tables.c \
	%D%/columns.c %D%/columns.h \
	%D%/compare/compare.c %D%/compare/compare.h \
	%D%/compare/compare_list.c \
	%D%/compare/compare_place.c \
	%D%/compare/compare_print.c \
	%D%/compare/compare_read.c \
	%D%/explain.c %D%/explain.h \
	%D%/explain_copies.c \
	%D%/explain_condition.c %D%/explain_condition.h \
	%D%/explain_print.c \
	%D%/findings.c %D%/findings.h \
	%D%/origin.c %D%/origin.h \
	%D%/health.c %D%/health.h \
	%D%/history.c \
	%D%/json.c %D%/json.h \
	%D%/main.c \
	%D%/offline.c %D%/offline.h \
	%D%/progress.c %D%/progress.h \
	%D%/queue.c \
	%D%/reload.c \
	%D%/service.c %D%/service.h \
	%D%/setup/setup_sendmail.c \
	%D%/select.c %D%/select.h \
	%D%/show.c \
	%D%/stats.c \
	%D%/status.c %D%/status.h \
	%D%/status_judge.c \
	%D%/status_metrics.c \
	%D%/status_postfix.c \
	%D%/status_print.c \
	%D%/summary.c %D%/summary.h \
	%D%/suspend.c \
	%D%/terminal.c %D%/terminal.h \
	%D%/trace/trace.c \
	%D%/trace/trace_print.c %D%/trace/trace_print.h \
	%D%/trace/trace_print_json.c \
	%D%/trace/trace_queue.c %D%/trace/trace_queue.h \
	%D%/unit.c %D%/unit.h
splitctl_CPPFLAGS = $(AM_CPPFLAGS) -DPKGDATADIR='"$(pkgdatadir)"'
splitctl_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
splitctl_LDADD = libctl.a librelay.a libsplit.a $(RELAY_LIBS) $(TABLE_LIBS) $(SYSTEMD_LIBS)
