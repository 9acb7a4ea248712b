# SPDX-License-Identifier: ISC
# Check programs test_<module>.c, fuzzers fuzz_<parser>.c, integration tests it_<behaviour>.py.
AM_TESTS_ENVIRONMENT = \
	SPLIT_BUILD_DIR='$(abs_top_builddir)'; export SPLIT_BUILD_DIR; \
	SPLIT_SOURCE_DIR='$(abs_top_srcdir)'; export SPLIT_SOURCE_DIR; \
	PYTHONDONTWRITEBYTECODE=1; export PYTHONDONTWRITEBYTECODE;
TEST_EXTENSIONS = .py
PY_LOG_COMPILER = python3

# Integration tests, the longest first.
INTEGRATION_TESTS = \
	%D%/it_backup_faults.py \
	%D%/it_kill.py \
	%D%/it_format.py \
	%D%/it_header_method.py \
	%D%/it_fault_matrix.py \
	%D%/it_restart_matrix.py \
	%D%/it_guides.py \
	%D%/it_hardening.py \
	%D%/it_large.py \
	%D%/it_listener_forms.py \
	%D%/it_live_reload.py \
	%D%/it_article.py \
	%D%/it_auth.py \
	%D%/it_bounces.py \
	%D%/it_clean_root.py \
	%D%/it_check.py \
	%D%/it_content.py \
	%D%/it_crowd.py \
	%D%/it_destination_random.py \
	%D%/it_content_top.py \
	%D%/it_duplicate.py \
	%D%/it_duplicate_kill.py \
	%D%/it_duplicate_pool.py \
	%D%/it_metrics.py \
	%D%/it_maildir.py \
	%D%/it_migration.py \
	%D%/it_milter.py \
	%D%/it_milter_fuzz.py \
	%D%/it_letters.py \
	%D%/it_local_mail.py \
	%D%/it_other_milters.py \
	%D%/it_monitoring.py \
	%D%/it_no_domain.py \
	%D%/it_pflogsumm.py \
	%D%/it_policy.py \
	%D%/it_policy_failures.py \
	%D%/it_primary_random.py \
	%D%/it_policy_random.py \
	%D%/it_postfix_review.py \
	%D%/it_origin.py \
	%D%/it_package.py \
	%D%/it_postmap.py \
	%D%/it_reload.py \
	%D%/it_reload_verdict.py \
	%D%/it_rig.py \
	%D%/it_routed.py \
	%D%/it_samples.py \
	%D%/it_setup_faults.py \
	%D%/it_setup_local.py \
	%D%/it_setup_postfix.py \
	%D%/it_spool_crash.py \
	%D%/it_spool_full.py \
	%D%/it_recipients.py \
	%D%/it_sendmail.py \
	%D%/it_sendmail_setup.py \
	%D%/it_split.py \
	%D%/it_tls.py \
	%D%/it_transport_map.py \
	%D%/it_tls_remote.py \
	%D%/it_units.py \
	%D%/it_strange_senders.py \
	%D%/it_splitctl.py \
	%D%/it_status.py \
	%D%/it_queue_tools.py \
	%D%/it_real_filters.py \
	%D%/it_relay_in.py \
	%D%/it_requiretls.py \
	%D%/it_route.py \
	%D%/it_flow.py
TESTS += $(INTEGRATION_TESTS)
EXTRA_DIST += \
	$(INTEGRATION_TESTS) \
	%D%/.clang-tidy \
	%D%/bench/bench.py \
	%D%/corpus \
	%D%/demo.py \
	%D%/rig/__init__.py \
	%D%/rig/base.py \
	%D%/rig/certificates.py \
	%D%/rig/chaos.py \
	%D%/rig/client.py \
	%D%/rig/daemons.py \
	%D%/rig/dns.py \
	%D%/rig/envelopes.py \
	%D%/rig/exim.py \
	%D%/rig/duplicator.py \
	%D%/rig/filter.py \
	%D%/rig/guardian.py \
	%D%/rig/guide.py \
	%D%/rig/jail.py \
	%D%/rig/machine.py \
	%D%/rig/metrics.py \
	%D%/rig/milter.py \
	%D%/rig/own_milter.py \
	%D%/rig/postfix.py \
	%D%/rig/postmulti.py \
	%D%/rig/sandbox.py \
	%D%/rig/sendmail.py \
	%D%/rig/sendmail_tower.py \
	%D%/rig/sink.py \
	%D%/rig/socketmap.py \
	%D%/setup_system.py \
	%D%/split_scenarios.py \
	%D%/rig/tap.py \
	%D%/rig/tools.py \
	%D%/rig/tower.py \
	%D%/tsan.supp

# No-op milters to compare with; `./dev bench' builds them.
EXTRA_PROGRAMS = %D%/bench/noop_all %D%/bench/noop_envelope %D%/bench/spool_bench %D%/bench/queue_bench \
	%D%/bench/spool_fill
%C%_bench_noop_all_SOURCES = %D%/bench/noop_all.c
%C%_bench_noop_all_LDADD = $(MILTER_LIBS)
%C%_bench_noop_envelope_SOURCES = %D%/bench/noop_envelope.c
%C%_bench_noop_envelope_LDADD = $(MILTER_LIBS)
%C%_bench_queue_bench_SOURCES = %D%/bench/queue_bench.c
%C%_bench_queue_bench_LDADD = librelay.a libsplit.a $(SYSTEMD_LIBS)
%C%_bench_spool_bench_SOURCES = %D%/bench/spool_bench.c
%C%_bench_spool_bench_LDADD = librelay.a libsplit.a $(SYSTEMD_LIBS)
%C%_bench_spool_fill_SOURCES = %D%/bench/spool_fill.c
%C%_bench_spool_fill_LDADD = librelay.a libsplit.a $(SYSTEMD_LIBS)
bench-programs: $(EXTRA_PROGRAMS)
.PHONY: bench-programs
CLEANFILES += $(EXTRA_PROGRAMS)

# With --enable-fuzzers a fuzzer brings libFuzzer's main(); otherwise make check has it replay tests/corpus/NAME.
# fuzz_NAME.c defines LLVMFuzzerTestOneInput(); its lines here, in alphabetical order:
#   FUZZERS += %D%/fuzz_NAME
#   %C%_fuzz_NAME_SOURCES = %D%/fuzz_NAME.c $(FUZZ_MAIN)
#   %C%_fuzz_NAME_LDFLAGS = $(FUZZ_LINK)
#   %C%_fuzz_NAME_LDADD = $(FUZZ_LIBS)
if ENABLE_FUZZERS
FUZZ_MAIN =
FUZZ_LINK = -fsanitize=fuzzer
else
FUZZ_MAIN = %D%/fuzz_replay.c
FUZZ_LINK =
endif
FUZZ_LIBS = libsplit.a $(TABLE_LIBS) $(SYSTEMD_LIBS)
FUZZ_RELAY_LIBS = librelay.a $(FUZZ_LIBS) $(RELAY_LIBS)
FUZZERS =
FUZZERS += %D%/fuzz_address
%C%_fuzz_address_SOURCES = %D%/fuzz_address.c $(FUZZ_MAIN)
%C%_fuzz_address_LDFLAGS = $(FUZZ_LINK)
%C%_fuzz_address_LDADD = $(FUZZ_LIBS)

FUZZERS += %D%/fuzz_config
%C%_fuzz_config_SOURCES = %D%/fuzz_config.c $(FUZZ_MAIN)
%C%_fuzz_config_LDFLAGS = $(FUZZ_LINK)
%C%_fuzz_config_LDADD = $(FUZZ_LIBS)

FUZZERS += %D%/fuzz_hdr_address
%C%_fuzz_hdr_address_SOURCES = %D%/fuzz_hdr_address.c $(FUZZ_MAIN)
%C%_fuzz_hdr_address_LDFLAGS = $(FUZZ_LINK)
%C%_fuzz_hdr_address_LDADD = $(FUZZ_LIBS)

FUZZERS += %D%/fuzz_content
%C%_fuzz_content_SOURCES = %D%/fuzz_content.c $(FUZZ_MAIN)
%C%_fuzz_content_LDFLAGS = $(FUZZ_LINK)
%C%_fuzz_content_LDADD = $(FUZZ_RELAY_LIBS)

FUZZERS += %D%/fuzz_control_line
%C%_fuzz_control_line_SOURCES = %D%/fuzz_control_line.c $(FUZZ_MAIN)
%C%_fuzz_control_line_LDFLAGS = $(FUZZ_LINK)
%C%_fuzz_control_line_LDADD = $(FUZZ_RELAY_LIBS)

FUZZERS += %D%/fuzz_format
%C%_fuzz_format_SOURCES = %D%/fuzz_format.c $(FUZZ_MAIN)
%C%_fuzz_format_LDFLAGS = $(FUZZ_LINK)
%C%_fuzz_format_LDADD = $(FUZZ_RELAY_LIBS)

FUZZERS += %D%/fuzz_milter_packet
%C%_fuzz_milter_packet_SOURCES = %D%/fuzz_milter_packet.c $(FUZZ_MAIN)
%C%_fuzz_milter_packet_LDFLAGS = $(FUZZ_LINK)
%C%_fuzz_milter_packet_LDADD = $(FUZZ_LIBS)

FUZZERS += %D%/fuzz_orcpt
%C%_fuzz_orcpt_SOURCES = %D%/fuzz_orcpt.c $(FUZZ_MAIN)
%C%_fuzz_orcpt_LDFLAGS = $(FUZZ_LINK)
%C%_fuzz_orcpt_LDADD = $(FUZZ_LIBS)

FUZZERS += %D%/fuzz_smtp_command
%C%_fuzz_smtp_command_SOURCES = %D%/fuzz_smtp_command.c $(FUZZ_MAIN)
%C%_fuzz_smtp_command_LDFLAGS = $(FUZZ_LINK)
%C%_fuzz_smtp_command_LDADD = $(FUZZ_LIBS)

FUZZERS += %D%/fuzz_smtp_reply
%C%_fuzz_smtp_reply_SOURCES = %D%/fuzz_smtp_reply.c $(FUZZ_MAIN)
%C%_fuzz_smtp_reply_LDFLAGS = $(FUZZ_LINK)
%C%_fuzz_smtp_reply_LDADD = $(FUZZ_LIBS)

FUZZERS += %D%/fuzz_socketmap_reply
%C%_fuzz_socketmap_reply_SOURCES = %D%/fuzz_socketmap_reply.c $(FUZZ_MAIN)
%C%_fuzz_socketmap_reply_LDFLAGS = $(FUZZ_LINK)
%C%_fuzz_socketmap_reply_LDADD = $(FUZZ_LIBS)

FUZZERS += %D%/fuzz_table
%C%_fuzz_table_SOURCES = %D%/fuzz_table.c $(FUZZ_MAIN)
%C%_fuzz_table_LDFLAGS = $(FUZZ_LINK)
%C%_fuzz_table_LDADD = $(FUZZ_LIBS)
FUZZERS += %D%/fuzz_spool_envelope
%C%_fuzz_spool_envelope_SOURCES = %D%/fuzz_spool_envelope.c $(FUZZ_MAIN)
%C%_fuzz_spool_envelope_LDFLAGS = $(FUZZ_LINK)
%C%_fuzz_spool_envelope_LDADD = $(FUZZ_RELAY_LIBS)

check_PROGRAMS += $(FUZZERS)
TESTS += $(FUZZERS)

AM_CFLAGS += $(CHECK_CFLAGS)
EXTRA_DIST += %D%/unit.h
UNIT_TESTS =
UNIT_LIBS = libsplit.a $(TABLE_LIBS) $(SYSTEMD_LIBS) $(CHECK_LIBS)
UNIT_RELAY_LIBS = librelay.a $(UNIT_LIBS) $(RELAY_LIBS)

# Unit tests, in alphabetical order.
UNIT_TESTS += %D%/test_address
%C%_test_address_SOURCES = %D%/test_address.c
%C%_test_address_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/test_config
%C%_test_config_SOURCES = %D%/test_config.c
%C%_test_config_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/test_config_docs
%C%_test_config_docs_SOURCES = %D%/test_config_docs.c
%C%_test_config_docs_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/test_config_mistakes
%C%_test_config_mistakes_SOURCES = %D%/test_config_mistakes.c
%C%_test_config_mistakes_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/test_content
%C%_test_content_SOURCES = %D%/test_content.c
%C%_test_content_LDADD = $(UNIT_RELAY_LIBS)

UNIT_TESTS += %D%/test_control
%C%_test_control_SOURCES = %D%/test_control.c
%C%_test_control_LDADD = $(UNIT_RELAY_LIBS)

UNIT_TESTS += %D%/test_delivery
%C%_test_delivery_SOURCES = %D%/test_delivery.c
%C%_test_delivery_LDADD = $(UNIT_RELAY_LIBS)

UNIT_TESTS += %D%/test_destination
%C%_test_destination_SOURCES = %D%/test_destination.c %D%/smtp_peer.c %D%/smtp_peer.h
%C%_test_destination_LDADD = $(UNIT_RELAY_LIBS)

UNIT_TESTS += %D%/test_dsn
%C%_test_dsn_SOURCES = %D%/test_dsn.c
%C%_test_dsn_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/test_buf
%C%_test_buf_SOURCES = %D%/test_buf.c
%C%_test_buf_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/test_client
%C%_test_client_SOURCES = %D%/test_client.c %D%/smtp_peer.c %D%/smtp_peer.h
%C%_test_client_LDADD = $(UNIT_RELAY_LIBS)

UNIT_TESTS += %D%/test_endpoint
%C%_test_endpoint_SOURCES = %D%/test_endpoint.c
%C%_test_endpoint_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/test_err
%C%_test_err_SOURCES = %D%/test_err.c
%C%_test_err_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/test_files
%C%_test_files_SOURCES = %D%/test_files.c
%C%_test_files_LDADD = libctl.a $(UNIT_LIBS)

UNIT_TESTS += %D%/test_format
%C%_test_format_SOURCES = %D%/test_format.c
%C%_test_format_LDADD = $(UNIT_RELAY_LIBS)

UNIT_TESTS += %D%/test_flow
%C%_test_flow_SOURCES = %D%/test_flow.c
%C%_test_flow_LDADD = $(UNIT_RELAY_LIBS)

UNIT_TESTS += %D%/test_log
%C%_test_log_SOURCES = %D%/test_log.c %D%/fake_syslog.c %D%/fake_syslog.h
%C%_test_log_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/test_hdr_address
%C%_test_hdr_address_SOURCES = %D%/test_hdr_address.c
%C%_test_hdr_address_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/test_lookup
%C%_test_lookup_SOURCES = %D%/test_lookup.c
%C%_test_lookup_LDADD = $(UNIT_LIBS)
UNIT_TESTS += %D%/test_marked_text
%C%_test_marked_text_SOURCES = %D%/test_marked_text.c
%C%_test_marked_text_LDADD = libctl.a $(UNIT_LIBS)

UNIT_TESTS += %D%/test_milter_list
%C%_test_milter_list_SOURCES = %D%/test_milter_list.c
%C%_test_milter_list_LDADD = libctl.a $(UNIT_LIBS)

UNIT_TESTS += %D%/test_maildir
%C%_test_maildir_SOURCES = %D%/test_maildir.c
%C%_test_maildir_LDADD = $(UNIT_RELAY_LIBS)

UNIT_TESTS += %D%/test_maillog
%C%_test_maillog_SOURCES = %D%/test_maillog.c
%C%_test_maillog_LDADD = $(UNIT_RELAY_LIBS)

UNIT_TESTS += %D%/test_mem
%C%_test_mem_SOURCES = %D%/test_mem.c
%C%_test_mem_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/test_metrics
%C%_test_metrics_SOURCES = %D%/test_metrics.c
%C%_test_metrics_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/test_milter_packet
%C%_test_milter_packet_SOURCES = %D%/test_milter_packet.c
%C%_test_milter_packet_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/test_policy
%C%_test_policy_SOURCES = %D%/test_policy.c
%C%_test_policy_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/test_policy_choice
%C%_test_policy_choice_SOURCES = %D%/test_policy_choice.c
%C%_test_policy_choice_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/test_process
%C%_test_process_SOURCES = %D%/test_process.c
%C%_test_process_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/test_route
%C%_test_route_SOURCES = %D%/test_route.c
%C%_test_route_LDADD = $(UNIT_RELAY_LIBS)

UNIT_TESTS += %D%/test_server
%C%_test_server_SOURCES = %D%/test_server.c %D%/fake_queue.c %D%/fake_queue.h
%C%_test_server_LDADD = $(UNIT_RELAY_LIBS)

UNIT_TESTS += %D%/test_session
%C%_test_session_SOURCES = %D%/test_session.c %D%/fake_queue.c %D%/fake_queue.h
%C%_test_session_LDADD = $(UNIT_RELAY_LIBS)

UNIT_TESTS += %D%/test_smtp_command
%C%_test_smtp_command_SOURCES = %D%/test_smtp_command.c
%C%_test_smtp_command_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/test_smtp_path
%C%_test_smtp_path_SOURCES = %D%/test_smtp_path.c
%C%_test_smtp_path_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/test_smtp_reply
%C%_test_smtp_reply_SOURCES = %D%/test_smtp_reply.c
%C%_test_smtp_reply_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/test_socketmap_reply
%C%_test_socketmap_reply_SOURCES = %D%/test_socketmap_reply.c
%C%_test_socketmap_reply_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/test_spool
%C%_test_spool_SOURCES = %D%/test_spool.c %D%/spool_unit.h
%C%_test_spool_LDADD = $(UNIT_RELAY_LIBS)

UNIT_TESTS += %D%/test_spool_batch
%C%_test_spool_batch_SOURCES = %D%/test_spool_batch.c %D%/spool_unit.h
%C%_test_spool_batch_LDADD = $(UNIT_RELAY_LIBS)
UNIT_TESTS += %D%/test_spool_change
%C%_test_spool_change_SOURCES = %D%/test_spool_change.c %D%/spool_unit.h
%C%_test_spool_change_LDADD = $(UNIT_RELAY_LIBS)

UNIT_TESTS += %D%/test_spool_depth
%C%_test_spool_depth_SOURCES = %D%/test_spool_depth.c %D%/spool_unit.h
%C%_test_spool_depth_LDADD = $(UNIT_RELAY_LIBS)

UNIT_TESTS += %D%/test_spool_envelope
%C%_test_spool_envelope_SOURCES = %D%/test_spool_envelope.c %D%/spool_unit.h
%C%_test_spool_envelope_LDADD = $(UNIT_RELAY_LIBS)

UNIT_TESTS += %D%/test_spool_queue
%C%_test_spool_queue_SOURCES = %D%/test_spool_queue.c %D%/spool_unit.h
%C%_test_spool_queue_LDADD = $(UNIT_RELAY_LIBS)

UNIT_TESTS += %D%/test_spool_window
%C%_test_spool_window_SOURCES = %D%/test_spool_window.c
%C%_test_spool_window_LDADD = $(UNIT_RELAY_LIBS)

UNIT_TESTS += %D%/test_stream
%C%_test_stream_SOURCES = %D%/test_stream.c
%C%_test_stream_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/test_trace
%C%_test_trace_SOURCES = %D%/test_trace.c
%C%_test_trace_LDADD = $(UNIT_RELAY_LIBS)
UNIT_TESTS += %D%/test_table
%C%_test_table_SOURCES = %D%/test_table.c
%C%_test_table_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/test_table_pcre_needs
%C%_test_table_pcre_needs_SOURCES = %D%/test_table_pcre_needs.c
%C%_test_table_pcre_needs_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/test_table_files
%C%_test_table_files_SOURCES = %D%/test_table_files.c
%C%_test_table_files_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/test_utf8
%C%_test_utf8_SOURCES = %D%/test_utf8.c
%C%_test_utf8_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/test_verdict
%C%_test_verdict_SOURCES = %D%/test_verdict.c
%C%_test_verdict_LDADD = $(UNIT_LIBS)
UNIT_TESTS += %D%/test_watch
%C%_test_watch_SOURCES = %D%/test_watch.c
%C%_test_watch_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/test_xtext
%C%_test_xtext_SOURCES = %D%/test_xtext.c
%C%_test_xtext_LDADD = $(UNIT_LIBS)

# Helpers of the integration tests.
check_PROGRAMS += %D%/table_query
%C%_table_query_SOURCES = %D%/table_query.c
%C%_table_query_LDADD = libsplit.a $(TABLE_LIBS)

check_PROGRAMS += %D%/review_query
%C%_review_query_SOURCES = %D%/review_query.c
%C%_review_query_LDADD = libctl.a librelay.a libsplit.a $(RELAY_LIBS) $(TABLE_LIBS) $(SYSTEMD_LIBS)

check_PROGRAMS += %D%/spool_driver
%C%_spool_driver_SOURCES = %D%/spool_driver.c %D%/spool_unit.h
%C%_spool_driver_LDADD = librelay.a libsplit.a $(SYSTEMD_LIBS)

if HAVE_OPENSSL
UNIT_TESTS += %D%/test_task
%C%_test_task_SOURCES = %D%/test_task.c
%C%_test_task_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/test_tls
%C%_test_tls_SOURCES = %D%/test_tls.c
%C%_test_tls_LDADD = $(UNIT_LIBS) $(RELAY_LIBS)
endif

if HAVE_GSASL
UNIT_TESTS += %D%/test_sasl
%C%_test_sasl_SOURCES = %D%/test_sasl.c
%C%_test_sasl_LDADD = $(UNIT_LIBS) $(RELAY_LIBS)
endif

if HAVE_CHECK
check_PROGRAMS += $(UNIT_TESTS)
TESTS += $(UNIT_TESTS)
endif

# Without root and Postfix: what packages run while they are built.
check-unit:
	$(MAKE) check TESTS='$(UNIT_TESTS) $(FUZZERS)'
.PHONY: check-unit
