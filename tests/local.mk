# SPDX-License-Identifier: ISC
# Check programs test_<module>.c, fuzzers fuzz_<parser>.c, integration tests it_<behaviour>.py.
AM_TESTS_ENVIRONMENT = \
	SPLIT_BUILD_DIR='$(abs_top_builddir)'; export SPLIT_BUILD_DIR; \
	SPLIT_MODULE_DIR='$(abs_top_builddir)/src/table'; export SPLIT_MODULE_DIR; \
	SPLIT_SOURCE_DIR='$(abs_top_srcdir)'; export SPLIT_SOURCE_DIR; \
	PYTHONPATH='$(abs_top_srcdir)/tests'; export PYTHONPATH; \
	PYTHONDONTWRITEBYTECODE=1; export PYTHONDONTWRITEBYTECODE;
TEST_EXTENSIONS = .py
PY_LOG_COMPILER = python3

# Integration tests, the longest first.
INTEGRATION_TESTS = \
	%D%/it/it_queue_postgresql.py \
	%D%/it/it_replicated.py \
	%D%/it/it_replicated_faults.py \
	%D%/it/it_two_nodes.py \
	%D%/it/it_long.py \
	%D%/it/it_backup_faults.py \
	%D%/it/it_kill.py \
	%D%/it/it_crash.py \
	%D%/it/it_power.py \
	%D%/it/it_queue_full.py \
	%D%/it/it_power_faults.py \
	%D%/it/it_format.py \
	%D%/it/it_header_method.py \
	%D%/it/it_fallback.py \
	%D%/it/it_fault_matrix.py \
	%D%/it/it_restart_matrix.py \
	%D%/it/it_guides.py \
	%D%/it/it_hardening.py \
	%D%/it/it_large.py \
	%D%/it/it_lint.py \
	%D%/it/it_listener_forms.py \
	%D%/it/it_live_reload.py \
	%D%/it/it_install.py \
	%D%/it/it_journal.py \
	%D%/it/it_log.py \
	%D%/it/it_archives.py \
	%D%/it/it_article.py \
	%D%/it/it_auth.py \
	%D%/it/it_oauth.py \
	%D%/it/it_bounces.py \
	%D%/it/it_check_database.py \
	%D%/it/it_clean_root.py \
	%D%/it/it_check.py \
	%D%/it/it_compare.py \
	%D%/it/it_conditions.py \
	%D%/it/it_container.py \
	%D%/it/it_content.py \
	%D%/it/it_crowd.py \
	%D%/it/it_destination_random.py \
	%D%/it/it_direction.py \
	%D%/it/it_content_top.py \
	%D%/it/it_duplicate.py \
	%D%/it/it_encodings.py \
	%D%/it/it_duplicate_kill.py \
	%D%/it/it_duplicate_pool.py \
	%D%/it/it_metrics.py \
	%D%/it/it_maildir.py \
	%D%/it/it_migration.py \
	%D%/it/it_milter.py \
	%D%/it/it_milter_fuzz.py \
	%D%/it/it_letters.py \
	%D%/it/it_local_mail.py \
	%D%/it/it_other_milters.py \
	%D%/it/it_monitoring.py \
	%D%/it/it_no_domain.py \
	%D%/it/it_pflogsumm.py \
	%D%/it/it_policy.py \
	%D%/it/it_policy_failures.py \
	%D%/it/it_primary_random.py \
	%D%/it/it_policy_random.py \
	%D%/it/it_postfix_review.py \
	%D%/it/it_origin.py \
	%D%/it/it_panels.py \
	%D%/it/it_package.py \
	%D%/it/it_page_browser.py \
	%D%/it/it_page.py \
	%D%/it/it_postmap.py \
	%D%/it/it_reload.py \
	%D%/it/it_reload_verdict.py \
	%D%/it/it_rig.py \
	%D%/it/it_routed.py \
	%D%/it/it_samples.py \
	%D%/it/it_scaling.py \
	%D%/it/it_setup_after.py \
	%D%/it/it_setup_faults.py \
	%D%/it/it_setup_local.py \
	%D%/it/it_setup_postfix.py \
	%D%/it/it_recipients.py \
	%D%/it/it_second_milter.py \
	%D%/it/it_sendmail.py \
	%D%/it/it_sendmail_setup.py \
	%D%/it/it_split.py \
	%D%/it/it_tables_ldap.py \
	%D%/it/it_tables_ldap_servers.py \
	%D%/it/it_tables_mysql.py \
	%D%/it/it_tables_mysql_server.py \
	%D%/it/it_tables_pgsql.py \
	%D%/it/it_tables_pgsql_server.py \
	%D%/it/it_tables_sqlite.py \
	%D%/it/it_task_gdb.py \
	%D%/it/it_tls.py \
	%D%/it/it_trace.py \
	%D%/it/it_transport_map.py \
	%D%/it/it_tls_remote.py \
	%D%/it/it_units.py \
	%D%/it/it_strange_senders.py \
	%D%/it/it_splitctl.py \
	%D%/it/it_status.py \
	%D%/it/it_template.py \
	%D%/it/it_terminal.py \
	%D%/it/it_queue_tools.py \
	%D%/it/it_real_filters.py \
	%D%/it/it_recovery.py \
	%D%/it/it_relay_in.py \
	%D%/it/it_requiretls.py \
	%D%/it/it_requiretls_postfix.py \
	%D%/it/it_route.py \
	%D%/it/it_flow.py
TESTS += $(INTEGRATION_TESTS)
EXTRA_DIST += \
	$(INTEGRATION_TESTS) \
	%D%/.clang-tidy \
	%D%/bench/backlog.py \
	%D%/bench/bench.py \
	%D%/bench/measure.py \
	%D%/bench/page.py \
	%D%/bench/replicated.py \
	%D%/bench/size.py \
	%D%/bench/sql.py \
	%D%/bench/store.py \
	%D%/bench/whole.py \
	%D%/corpus \
	%D%/rig/demo.py \
	%D%/lint.py \
	%D%/rig/README.md \
	%D%/rig/__init__.py \
	%D%/rig/base.py \
	%D%/rig/boot.sh \
	%D%/rig/browser.py \
	%D%/rig/certificates.py \
	%D%/rig/chaos.py \
	%D%/rig/client.py \
	%D%/rig/container.py \
	%D%/rig/daemons.py \
	%D%/rig/dns.py \
	%D%/rig/envelopes.py \
	%D%/rig/exim.py \
	%D%/rig/duplicator.py \
	%D%/rig/fake_ldap.py \
	%D%/rig/filter.py \
	%D%/rig/fleet.py \
	%D%/rig/gate.py \
	%D%/rig/guardian.py \
	%D%/rig/guide.py \
	%D%/rig/jail.py \
	%D%/rig/journal.py \
	%D%/rig/libpq.py \
	%D%/rig/machine.py \
	%D%/rig/mariadb.py \
	%D%/rig/messages.py \
	%D%/rig/metrics.py \
	%D%/rig/milter.py \
	%D%/rig/mysql_table.py \
	%D%/rig/node.py \
	%D%/rig/own_milter.py \
	%D%/rig/panels.py \
	%D%/rig/patroni.py \
	%D%/rig/pgsql_table.py \
	%D%/rig/postfix.py \
	%D%/rig/postgres.py \
	%D%/rig/power.py \
	%D%/power/diskrec.c \
	%D%/power/diskrec.h \
	%D%/rig/postmulti.py \
	%D%/rig/queue.py \
	%D%/rig/sandbox.py \
	%D%/rig/sasl.py \
	%D%/rig/sendmail.py \
	%D%/rig/sendmail_tower.py \
	%D%/rig/sink.py \
	%D%/rig/socketmap.py \
	%D%/rig/stamp.py \
	%D%/rig/setup_system.py \
	%D%/rig/slapd.py \
	%D%/rig/split_scenarios.py \
	%D%/rig/table_outages.py \
	%D%/rig/tables.py \
	%D%/rig/tap.py \
	%D%/rig/tools.py \
	%D%/rig/tower.py \
	%D%/rig/wire.py \
	%D%/tsan.supp

# No-op milters to compare with; `./dev bench' builds them.
EXTRA_PROGRAMS = %D%/bench/noop_all %D%/bench/noop_envelope %D%/bench/queue_bench %D%/bench/store_bench %D%/bench/task_bench
%C%_bench_noop_all_SOURCES = %D%/bench/noop_all.c
%C%_bench_noop_all_LDADD = $(MILTER_LIBS)
%C%_bench_noop_envelope_SOURCES = %D%/bench/noop_envelope.c
%C%_bench_noop_envelope_LDADD = $(MILTER_LIBS)
%C%_bench_queue_bench_SOURCES = %D%/bench/queue_bench.c
%C%_bench_queue_bench_LDADD = librelay.a libsplit.a $(RELAY_LIBS) $(SYSTEMD_LIBS)
%C%_bench_store_bench_SOURCES = %D%/bench/store_bench.c
%C%_bench_store_bench_LDADD = librelay.a libsplit.a $(RELAY_LIBS) $(SYSTEMD_LIBS)
%C%_bench_task_bench_SOURCES = %D%/bench/task_bench.c
%C%_bench_task_bench_LDADD = libsplit.a
bench-programs: $(EXTRA_PROGRAMS)
.PHONY: bench-programs
CLEANFILES += $(EXTRA_PROGRAMS)

# With --enable-fuzzers a fuzzer brings libFuzzer's main(); otherwise make check has it replay tests/corpus/NAME.
# fuzz_NAME.c defines LLVMFuzzerTestOneInput(); its lines here, in alphabetical order:
#   FUZZERS += %D%/fuzz/fuzz_NAME
#   %C%_fuzz_fuzz_NAME_SOURCES = %D%/fuzz/fuzz_NAME.c $(FUZZ_MAIN)
#   %C%_fuzz_fuzz_NAME_LDFLAGS = $(FUZZ_LINK)
#   %C%_fuzz_fuzz_NAME_LDADD = $(FUZZ_LIBS)
if ENABLE_FUZZERS
FUZZ_MAIN =
FUZZ_LINK = -fsanitize=fuzzer
else
FUZZ_MAIN = %D%/fuzz/fuzz_replay.c
FUZZ_LINK =
endif
FUZZ_LIBS = libsplit.a $(TABLE_LIBS) $(SYSTEMD_LIBS)
FUZZ_RELAY_LIBS = librelay.a $(FUZZ_LIBS) $(RELAY_LIBS)
FUZZERS =
FUZZERS += %D%/fuzz/fuzz_address
%C%_fuzz_fuzz_address_SOURCES = %D%/fuzz/fuzz_address.c $(FUZZ_MAIN)
%C%_fuzz_fuzz_address_LDFLAGS = $(FUZZ_LINK)
%C%_fuzz_fuzz_address_LDADD = $(FUZZ_LIBS)

FUZZERS += %D%/fuzz/fuzz_cf
%C%_fuzz_fuzz_cf_SOURCES = %D%/fuzz/fuzz_cf.c $(FUZZ_MAIN)
%C%_fuzz_fuzz_cf_LDFLAGS = $(FUZZ_LINK)
%C%_fuzz_fuzz_cf_LDADD = $(FUZZ_LIBS)

FUZZERS += %D%/fuzz/fuzz_config
%C%_fuzz_fuzz_config_SOURCES = %D%/fuzz/fuzz_config.c $(FUZZ_MAIN)
%C%_fuzz_fuzz_config_LDFLAGS = $(FUZZ_LINK)
%C%_fuzz_fuzz_config_LDADD = $(FUZZ_LIBS)

FUZZERS += %D%/fuzz/fuzz_hdr_address
%C%_fuzz_fuzz_hdr_address_SOURCES = %D%/fuzz/fuzz_hdr_address.c $(FUZZ_MAIN)
%C%_fuzz_fuzz_hdr_address_LDFLAGS = $(FUZZ_LINK)
%C%_fuzz_fuzz_hdr_address_LDADD = $(FUZZ_LIBS)

FUZZERS += %D%/fuzz/fuzz_content
%C%_fuzz_fuzz_content_SOURCES = %D%/fuzz/fuzz_content.c $(FUZZ_MAIN)
%C%_fuzz_fuzz_content_LDFLAGS = $(FUZZ_LINK)
%C%_fuzz_fuzz_content_LDADD = $(FUZZ_RELAY_LIBS)

FUZZERS += %D%/fuzz/fuzz_criterion
%C%_fuzz_fuzz_criterion_SOURCES = %D%/fuzz/fuzz_criterion.c $(FUZZ_MAIN)
%C%_fuzz_fuzz_criterion_LDFLAGS = $(FUZZ_LINK)
%C%_fuzz_fuzz_criterion_LDADD = $(FUZZ_RELAY_LIBS)

FUZZERS += %D%/fuzz/fuzz_control_line
%C%_fuzz_fuzz_control_line_SOURCES = %D%/fuzz/fuzz_control_line.c $(FUZZ_MAIN)
%C%_fuzz_fuzz_control_line_LDFLAGS = $(FUZZ_LINK)
%C%_fuzz_fuzz_control_line_LDADD = $(FUZZ_RELAY_LIBS)

FUZZERS += %D%/fuzz/fuzz_format_decode
%C%_fuzz_fuzz_format_decode_SOURCES = %D%/fuzz/fuzz_format_decode.c $(FUZZ_MAIN)
%C%_fuzz_fuzz_format_decode_LDFLAGS = $(FUZZ_LINK)
%C%_fuzz_fuzz_format_decode_LDADD = $(FUZZ_RELAY_LIBS)

FUZZERS += %D%/fuzz/fuzz_format
%C%_fuzz_fuzz_format_SOURCES = %D%/fuzz/fuzz_format.c $(FUZZ_MAIN)
%C%_fuzz_fuzz_format_LDFLAGS = $(FUZZ_LINK)
%C%_fuzz_fuzz_format_LDADD = $(FUZZ_RELAY_LIBS)

FUZZERS += %D%/fuzz/fuzz_milter_packet
%C%_fuzz_fuzz_milter_packet_SOURCES = %D%/fuzz/fuzz_milter_packet.c $(FUZZ_MAIN)
%C%_fuzz_fuzz_milter_packet_LDFLAGS = $(FUZZ_LINK)
%C%_fuzz_fuzz_milter_packet_LDADD = $(FUZZ_LIBS)

FUZZERS += %D%/fuzz/fuzz_oauth
%C%_fuzz_fuzz_oauth_SOURCES = %D%/fuzz/fuzz_oauth.c $(FUZZ_MAIN)
%C%_fuzz_fuzz_oauth_LDFLAGS = $(FUZZ_LINK)
%C%_fuzz_fuzz_oauth_LDADD = $(FUZZ_RELAY_LIBS)

FUZZERS += %D%/fuzz/fuzz_orcpt
%C%_fuzz_fuzz_orcpt_SOURCES = %D%/fuzz/fuzz_orcpt.c $(FUZZ_MAIN)
%C%_fuzz_fuzz_orcpt_LDFLAGS = $(FUZZ_LINK)
%C%_fuzz_fuzz_orcpt_LDADD = $(FUZZ_LIBS)

FUZZERS += %D%/fuzz/fuzz_query
%C%_fuzz_fuzz_query_SOURCES = %D%/fuzz/fuzz_query.c $(FUZZ_MAIN)
%C%_fuzz_fuzz_query_LDFLAGS = $(FUZZ_LINK)
%C%_fuzz_fuzz_query_LDADD = $(FUZZ_LIBS)

FUZZERS += %D%/fuzz/fuzz_smtp_command
%C%_fuzz_fuzz_smtp_command_SOURCES = %D%/fuzz/fuzz_smtp_command.c $(FUZZ_MAIN)
%C%_fuzz_fuzz_smtp_command_LDFLAGS = $(FUZZ_LINK)
%C%_fuzz_fuzz_smtp_command_LDADD = $(FUZZ_LIBS)

FUZZERS += %D%/fuzz/fuzz_smtp_features
%C%_fuzz_fuzz_smtp_features_SOURCES = %D%/fuzz/fuzz_smtp_features.c $(FUZZ_MAIN)
%C%_fuzz_fuzz_smtp_features_LDFLAGS = $(FUZZ_LINK)
%C%_fuzz_fuzz_smtp_features_LDADD = $(FUZZ_RELAY_LIBS)

FUZZERS += %D%/fuzz/fuzz_smtp_reply
%C%_fuzz_fuzz_smtp_reply_SOURCES = %D%/fuzz/fuzz_smtp_reply.c $(FUZZ_MAIN)
%C%_fuzz_fuzz_smtp_reply_LDFLAGS = $(FUZZ_LINK)
%C%_fuzz_fuzz_smtp_reply_LDADD = $(FUZZ_LIBS)

FUZZERS += %D%/fuzz/fuzz_socketmap_reply
%C%_fuzz_fuzz_socketmap_reply_SOURCES = %D%/fuzz/fuzz_socketmap_reply.c $(FUZZ_MAIN)
%C%_fuzz_fuzz_socketmap_reply_LDFLAGS = $(FUZZ_LINK)
%C%_fuzz_fuzz_socketmap_reply_LDADD = $(FUZZ_LIBS)

FUZZERS += %D%/fuzz/fuzz_table
%C%_fuzz_fuzz_table_SOURCES = %D%/fuzz/fuzz_table.c $(FUZZ_MAIN)
%C%_fuzz_fuzz_table_LDFLAGS = $(FUZZ_LINK)
%C%_fuzz_fuzz_table_LDADD = $(FUZZ_LIBS)

FUZZERS += %D%/fuzz/fuzz_template
%C%_fuzz_fuzz_template_SOURCES = %D%/fuzz/fuzz_template.c $(FUZZ_MAIN)
%C%_fuzz_fuzz_template_LDFLAGS = $(FUZZ_LINK)
%C%_fuzz_fuzz_template_LDADD = $(FUZZ_LIBS)

FUZZERS += %D%/fuzz/fuzz_trace_way
%C%_fuzz_fuzz_trace_way_SOURCES = %D%/fuzz/fuzz_trace_way.c $(FUZZ_MAIN)
%C%_fuzz_fuzz_trace_way_LDFLAGS = $(FUZZ_LINK)
%C%_fuzz_fuzz_trace_way_LDADD = libctl.a $(FUZZ_RELAY_LIBS) $(JANSSON_LIBS)

check_PROGRAMS += $(FUZZERS)
TESTS += $(FUZZERS)

AM_CFLAGS += $(CHECK_CFLAGS)
EXTRA_DIST += %D%/unit/unit.h
UNIT_TESTS =
UNIT_LIBS = libsplit.a $(TABLE_LIBS) $(SYSTEMD_LIBS) $(CHECK_LIBS)
UNIT_RELAY_LIBS = librelay.a $(UNIT_LIBS) $(RELAY_LIBS)

# Unit tests, in alphabetical order.
UNIT_TESTS += %D%/unit/test_address
%C%_unit_test_address_SOURCES = %D%/unit/test_address.c
%C%_unit_test_address_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/unit/test_ascii
%C%_unit_test_ascii_SOURCES = %D%/unit/test_ascii.c
%C%_unit_test_ascii_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/unit/test_cf
%C%_unit_test_cf_SOURCES = %D%/unit/test_cf.c
%C%_unit_test_cf_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/unit/test_clock
%C%_unit_test_clock_SOURCES = %D%/unit/test_clock.c
%C%_unit_test_clock_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/unit/test_compare
%C%_unit_test_compare_SOURCES = %D%/unit/test_compare.c
%C%_unit_test_compare_LDADD = libctl.a $(UNIT_RELAY_LIBS) $(JANSSON_LIBS)

UNIT_TESTS += %D%/unit/test_compare_maildir
%C%_unit_test_compare_maildir_SOURCES = %D%/unit/test_compare_maildir.c
%C%_unit_test_compare_maildir_LDADD = libctl.a $(UNIT_RELAY_LIBS) $(JANSSON_LIBS)

UNIT_TESTS += %D%/unit/test_config
%C%_unit_test_config_SOURCES = %D%/unit/test_config.c
%C%_unit_test_config_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/unit/test_config_docs
%C%_unit_test_config_docs_SOURCES = %D%/unit/test_config_docs.c
%C%_unit_test_config_docs_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/unit/test_config_queue
%C%_unit_test_config_queue_SOURCES = %D%/unit/test_config_queue.c
%C%_unit_test_config_queue_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/unit/test_config_mistakes
%C%_unit_test_config_mistakes_SOURCES = %D%/unit/test_config_mistakes.c
%C%_unit_test_config_mistakes_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/unit/test_content
%C%_unit_test_content_SOURCES = %D%/unit/test_content.c
%C%_unit_test_content_LDADD = $(UNIT_RELAY_LIBS)

UNIT_TESTS += %D%/unit/test_content_reader
%C%_unit_test_content_reader_SOURCES = %D%/unit/test_content_reader.c %D%/unit/fake_queue.c %D%/unit/fake_queue.h \
	%D%/unit/smtp_peer.c %D%/unit/smtp_peer.h
%C%_unit_test_content_reader_LDADD = $(UNIT_RELAY_LIBS)

UNIT_TESTS += %D%/unit/test_control
%C%_unit_test_control_SOURCES = %D%/unit/test_control.c
%C%_unit_test_control_LDADD = $(UNIT_RELAY_LIBS)

UNIT_TESTS += %D%/unit/test_db
%C%_unit_test_db_SOURCES = %D%/unit/test_db.c
%C%_unit_test_db_LDADD = $(UNIT_RELAY_LIBS)

UNIT_TESTS += %D%/unit/test_db_engines
%C%_unit_test_db_engines_SOURCES = %D%/unit/test_db_engines.c %D%/unit/pgsql_unit.c %D%/unit/pgsql_unit.h
%C%_unit_test_db_engines_LDADD = $(UNIT_RELAY_LIBS)

UNIT_TESTS += %D%/unit/test_db_pgsql
%C%_unit_test_db_pgsql_SOURCES = %D%/unit/test_db_pgsql.c %D%/unit/pgsql_unit.c %D%/unit/pgsql_unit.h
%C%_unit_test_db_pgsql_LDADD = $(UNIT_RELAY_LIBS)

UNIT_TESTS += %D%/unit/test_delivery
%C%_unit_test_delivery_SOURCES = %D%/unit/test_delivery.c
%C%_unit_test_delivery_LDADD = $(UNIT_RELAY_LIBS)

UNIT_TESTS += %D%/unit/test_destination
%C%_unit_test_destination_SOURCES = %D%/unit/test_destination.c %D%/unit/smtp_peer.c %D%/unit/smtp_peer.h
%C%_unit_test_destination_LDADD = $(UNIT_RELAY_LIBS)

UNIT_TESTS += %D%/unit/test_dsn
%C%_unit_test_dsn_SOURCES = %D%/unit/test_dsn.c
%C%_unit_test_dsn_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/unit/test_base64
%C%_unit_test_base64_SOURCES = %D%/unit/test_base64.c
%C%_unit_test_base64_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/unit/test_buf
%C%_unit_test_buf_SOURCES = %D%/unit/test_buf.c
%C%_unit_test_buf_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/unit/test_client
%C%_unit_test_client_SOURCES = %D%/unit/test_client.c %D%/unit/smtp_peer.c %D%/unit/smtp_peer.h
%C%_unit_test_client_LDADD = $(UNIT_RELAY_LIBS)

UNIT_TESTS += %D%/unit/test_endpoint
%C%_unit_test_endpoint_SOURCES = %D%/unit/test_endpoint.c
%C%_unit_test_endpoint_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/unit/test_err
%C%_unit_test_err_SOURCES = %D%/unit/test_err.c
%C%_unit_test_err_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/unit/test_fdio
%C%_unit_test_fdio_SOURCES = %D%/unit/test_fdio.c
%C%_unit_test_fdio_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/unit/test_files
%C%_unit_test_files_SOURCES = %D%/unit/test_files.c
%C%_unit_test_files_LDADD = libctl.a $(UNIT_LIBS)

UNIT_TESTS += %D%/unit/test_format_decode
%C%_unit_test_format_decode_SOURCES = %D%/unit/test_format_decode.c
%C%_unit_test_format_decode_LDADD = $(UNIT_RELAY_LIBS)

UNIT_TESTS += %D%/unit/test_format
%C%_unit_test_format_SOURCES = %D%/unit/test_format.c
%C%_unit_test_format_LDADD = $(UNIT_RELAY_LIBS)

UNIT_TESTS += %D%/unit/test_flow
%C%_unit_test_flow_SOURCES = %D%/unit/test_flow.c
%C%_unit_test_flow_LDADD = $(UNIT_RELAY_LIBS)

UNIT_TESTS += %D%/unit/test_large
%C%_unit_test_large_SOURCES = %D%/unit/test_large.c
%C%_unit_test_large_LDADD = $(UNIT_RELAY_LIBS)

UNIT_TESTS += %D%/unit/test_log
%C%_unit_test_log_SOURCES = %D%/unit/test_log.c %D%/unit/fake_syslog.c %D%/unit/fake_syslog.h
%C%_unit_test_log_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/unit/test_log_format
%C%_unit_test_log_format_SOURCES = %D%/unit/test_log_format.c %D%/unit/fake_syslog.c %D%/unit/fake_syslog.h
%C%_unit_test_log_format_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
%C%_unit_test_log_format_LDADD = $(UNIT_LIBS) $(JANSSON_LIBS)

UNIT_TESTS += %D%/unit/test_hash
%C%_unit_test_hash_SOURCES = %D%/unit/test_hash.c
%C%_unit_test_hash_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/unit/test_hdr_address
%C%_unit_test_hdr_address_SOURCES = %D%/unit/test_hdr_address.c
%C%_unit_test_hdr_address_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/unit/test_lookup
%C%_unit_test_lookup_SOURCES = %D%/unit/test_lookup.c
%C%_unit_test_lookup_LDADD = $(UNIT_LIBS)
UNIT_TESTS += %D%/unit/test_marked_text
%C%_unit_test_marked_text_SOURCES = %D%/unit/test_marked_text.c
%C%_unit_test_marked_text_LDADD = libctl.a $(UNIT_LIBS)

UNIT_TESTS += %D%/unit/test_milter_list
%C%_unit_test_milter_list_SOURCES = %D%/unit/test_milter_list.c
%C%_unit_test_milter_list_LDADD = libctl.a $(UNIT_LIBS)

UNIT_TESTS += %D%/unit/test_maildir
%C%_unit_test_maildir_SOURCES = %D%/unit/test_maildir.c
%C%_unit_test_maildir_LDADD = $(UNIT_RELAY_LIBS)

UNIT_TESTS += %D%/unit/test_maillog
%C%_unit_test_maillog_SOURCES = %D%/unit/test_maillog.c
%C%_unit_test_maillog_LDADD = $(UNIT_RELAY_LIBS)

UNIT_TESTS += %D%/unit/test_mem
%C%_unit_test_mem_SOURCES = %D%/unit/test_mem.c
%C%_unit_test_mem_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/unit/test_metrics
%C%_unit_test_metrics_SOURCES = %D%/unit/test_metrics.c
%C%_unit_test_metrics_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/unit/test_http_guard
%C%_unit_test_http_guard_SOURCES = %D%/unit/test_http_guard.c
%C%_unit_test_http_guard_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/unit/test_header_condition
%C%_unit_test_header_condition_SOURCES = %D%/unit/test_header_condition.c
%C%_unit_test_header_condition_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/unit/test_http_access
%C%_unit_test_http_access_SOURCES = %D%/unit/test_http_access.c
%C%_unit_test_http_access_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/unit/test_milter_packet
%C%_unit_test_milter_packet_SOURCES = %D%/unit/test_milter_packet.c
%C%_unit_test_milter_packet_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/unit/test_module
%C%_unit_test_module_SOURCES = %D%/unit/test_module.c
%C%_unit_test_module_LDADD = $(UNIT_LIBS)
check_PROGRAMS += %D%/unit/other_version/ldap.so
%C%_unit_other_version_ldap_so_SOURCES = %D%/unit/module_other_version.c
%C%_unit_other_version_ldap_so_CFLAGS = $(MODULE_CFLAGS)
%C%_unit_other_version_ldap_so_LDFLAGS = $(MODULE_LDFLAGS)

UNIT_TESTS += %D%/unit/test_policy
%C%_unit_test_policy_SOURCES = %D%/unit/test_policy.c
%C%_unit_test_policy_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/unit/test_policy_choice
%C%_unit_test_policy_choice_SOURCES = %D%/unit/test_policy_choice.c
%C%_unit_test_policy_choice_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/unit/test_policy_copies
%C%_unit_test_policy_copies_SOURCES = %D%/unit/test_policy_copies.c
%C%_unit_test_policy_copies_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/unit/test_policy_direction
%C%_unit_test_policy_direction_SOURCES = %D%/unit/test_policy_direction.c
%C%_unit_test_policy_direction_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/unit/test_pool
%C%_unit_test_pool_SOURCES = %D%/unit/test_pool.c %D%/unit/pool_unit.c %D%/unit/pool_unit.h
%C%_unit_test_pool_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/unit/test_pool_failure
%C%_unit_test_pool_failure_SOURCES = %D%/unit/test_pool_failure.c %D%/unit/pool_unit.c %D%/unit/pool_unit.h
%C%_unit_test_pool_failure_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/unit/test_pool_threads
%C%_unit_test_pool_threads_SOURCES = %D%/unit/test_pool_threads.c %D%/unit/pool_unit.c %D%/unit/pool_unit.h
%C%_unit_test_pool_threads_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/unit/test_process
%C%_unit_test_process_SOURCES = %D%/unit/test_process.c
%C%_unit_test_process_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/unit/test_query
%C%_unit_test_query_SOURCES = %D%/unit/test_query.c
%C%_unit_test_query_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/unit/test_queue
%C%_unit_test_queue_SOURCES = %D%/unit/test_queue.c %D%/unit/queue_unit.c %D%/unit/queue_unit.h %D%/unit/pgsql_unit.c %D%/unit/pgsql_unit.h
%C%_unit_test_queue_LDADD = $(UNIT_RELAY_LIBS)

UNIT_TESTS += %D%/unit/test_queue_by_hand
%C%_unit_test_queue_by_hand_SOURCES = %D%/unit/test_queue_by_hand.c %D%/unit/queue_unit.c %D%/unit/queue_unit.h %D%/unit/pgsql_unit.c %D%/unit/pgsql_unit.h
%C%_unit_test_queue_by_hand_LDADD = $(UNIT_RELAY_LIBS)

UNIT_TESTS += %D%/unit/test_queue_change
%C%_unit_test_queue_change_SOURCES = %D%/unit/test_queue_change.c %D%/unit/queue_unit.c %D%/unit/queue_unit.h %D%/unit/pgsql_unit.c %D%/unit/pgsql_unit.h
%C%_unit_test_queue_change_LDADD = $(UNIT_RELAY_LIBS)

UNIT_TESTS += %D%/unit/test_queue_id
%C%_unit_test_queue_id_SOURCES = %D%/unit/test_queue_id.c
%C%_unit_test_queue_id_LDADD = $(UNIT_RELAY_LIBS)

UNIT_TESTS += %D%/unit/test_queue_reader
%C%_unit_test_queue_reader_SOURCES = %D%/unit/test_queue_reader.c %D%/unit/queue_unit.c %D%/unit/queue_unit.h %D%/unit/pgsql_unit.c %D%/unit/pgsql_unit.h
%C%_unit_test_queue_reader_LDADD = $(UNIT_RELAY_LIBS)

UNIT_TESTS += %D%/unit/test_queue_reader_parts
%C%_unit_test_queue_reader_parts_SOURCES = %D%/unit/test_queue_reader_parts.c %D%/unit/queue_unit.c %D%/unit/queue_unit.h %D%/unit/pgsql_unit.c %D%/unit/pgsql_unit.h
%C%_unit_test_queue_reader_parts_LDADD = $(UNIT_RELAY_LIBS)

UNIT_TESTS += %D%/unit/test_queue_put
%C%_unit_test_queue_put_SOURCES = %D%/unit/test_queue_put.c %D%/unit/queue_unit.c %D%/unit/queue_unit.h %D%/unit/pgsql_unit.c %D%/unit/pgsql_unit.h
%C%_unit_test_queue_put_LDADD = $(UNIT_RELAY_LIBS)

UNIT_TESTS += %D%/unit/test_queue_next
%C%_unit_test_queue_next_SOURCES = %D%/unit/test_queue_next.c %D%/unit/queue_unit.c %D%/unit/queue_unit.h %D%/unit/pgsql_unit.c %D%/unit/pgsql_unit.h
%C%_unit_test_queue_next_LDADD = $(UNIT_RELAY_LIBS)

UNIT_TESTS += %D%/unit/test_queue_nodes
%C%_unit_test_queue_nodes_SOURCES = %D%/unit/test_queue_nodes.c %D%/unit/queue_unit.c %D%/unit/queue_unit.h %D%/unit/pgsql_unit.c %D%/unit/pgsql_unit.h
%C%_unit_test_queue_nodes_LDADD = $(UNIT_RELAY_LIBS)
UNIT_TESTS += %D%/unit/test_queue_open
%C%_unit_test_queue_open_SOURCES = %D%/unit/test_queue_open.c %D%/unit/queue_unit.c %D%/unit/queue_unit.h %D%/unit/pgsql_unit.c %D%/unit/pgsql_unit.h
%C%_unit_test_queue_open_LDADD = $(UNIT_RELAY_LIBS)

UNIT_TESTS += %D%/unit/test_criterion
%C%_unit_test_criterion_SOURCES = %D%/unit/test_criterion.c
%C%_unit_test_criterion_LDADD = $(UNIT_RELAY_LIBS)

UNIT_TESTS += %D%/unit/test_relay_rates
%C%_unit_test_relay_rates_SOURCES = %D%/unit/test_relay_rates.c
%C%_unit_test_relay_rates_LDADD = $(UNIT_RELAY_LIBS)

UNIT_TESTS += %D%/unit/test_route
%C%_unit_test_route_SOURCES = %D%/unit/test_route.c
%C%_unit_test_route_LDADD = $(UNIT_RELAY_LIBS)

UNIT_TESTS += %D%/unit/test_selection
%C%_unit_test_selection_SOURCES = %D%/unit/test_selection.c
%C%_unit_test_selection_LDADD = $(UNIT_RELAY_LIBS)

UNIT_TESTS += %D%/unit/test_server
%C%_unit_test_server_SOURCES = %D%/unit/test_server.c %D%/unit/fake_queue.c %D%/unit/fake_queue.h
%C%_unit_test_server_LDADD = $(UNIT_RELAY_LIBS)

UNIT_TESTS += %D%/unit/test_session
%C%_unit_test_session_SOURCES = %D%/unit/test_session.c %D%/unit/fake_queue.c %D%/unit/fake_queue.h
%C%_unit_test_session_LDADD = $(UNIT_RELAY_LIBS)

UNIT_TESTS += %D%/unit/test_slice
%C%_unit_test_slice_SOURCES = %D%/unit/test_slice.c
%C%_unit_test_slice_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/unit/test_smtp_command
%C%_unit_test_smtp_command_SOURCES = %D%/unit/test_smtp_command.c
%C%_unit_test_smtp_command_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/unit/test_smtp_features
%C%_unit_test_smtp_features_SOURCES = %D%/unit/test_smtp_features.c
%C%_unit_test_smtp_features_LDADD = $(UNIT_RELAY_LIBS)

UNIT_TESTS += %D%/unit/test_smtp_path
%C%_unit_test_smtp_path_SOURCES = %D%/unit/test_smtp_path.c
%C%_unit_test_smtp_path_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/unit/test_smtp_reply
%C%_unit_test_smtp_reply_SOURCES = %D%/unit/test_smtp_reply.c
%C%_unit_test_smtp_reply_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/unit/test_socketmap_reply
%C%_unit_test_socketmap_reply_SOURCES = %D%/unit/test_socketmap_reply.c
%C%_unit_test_socketmap_reply_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/unit/test_stream
%C%_unit_test_stream_SOURCES = %D%/unit/test_stream.c
%C%_unit_test_stream_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/unit/test_trace
%C%_unit_test_trace_SOURCES = %D%/unit/test_trace.c
%C%_unit_test_trace_LDADD = $(UNIT_RELAY_LIBS)

UNIT_TESTS += %D%/unit/test_trace_line
%C%_unit_test_trace_line_SOURCES = %D%/unit/test_trace_line.c
%C%_unit_test_trace_line_LDADD = libctl.a $(UNIT_RELAY_LIBS) $(JANSSON_LIBS)

UNIT_TESTS += %D%/unit/test_trace_select
%C%_unit_test_trace_select_SOURCES = %D%/unit/test_trace_select.c
%C%_unit_test_trace_select_LDADD = libctl.a $(UNIT_RELAY_LIBS) $(JANSSON_LIBS)

UNIT_TESTS += %D%/unit/test_trace_way
%C%_unit_test_trace_way_SOURCES = %D%/unit/test_trace_way.c
%C%_unit_test_trace_way_LDADD = libctl.a $(UNIT_RELAY_LIBS) $(JANSSON_LIBS)

UNIT_TESTS += %D%/unit/test_table
%C%_unit_test_table_SOURCES = %D%/unit/test_table.c
%C%_unit_test_table_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/unit/test_table_pcre_needs
%C%_unit_test_table_pcre_needs_SOURCES = %D%/unit/test_table_pcre_needs.c
%C%_unit_test_table_pcre_needs_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/unit/test_table_external
%C%_unit_test_table_external_SOURCES = %D%/unit/test_table_external.c
%C%_unit_test_table_external_LDADD = $(UNIT_LIBS) $(SQLITE_LIBS)

UNIT_TESTS += %D%/unit/test_table_files
%C%_unit_test_table_files_SOURCES = %D%/unit/test_table_files.c
%C%_unit_test_table_files_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/unit/test_utf8
%C%_unit_test_utf8_SOURCES = %D%/unit/test_utf8.c
%C%_unit_test_utf8_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/unit/test_verdict
%C%_unit_test_verdict_SOURCES = %D%/unit/test_verdict.c
%C%_unit_test_verdict_LDADD = $(UNIT_LIBS)
UNIT_TESTS += %D%/unit/test_watch
%C%_unit_test_watch_SOURCES = %D%/unit/test_watch.c
%C%_unit_test_watch_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/unit/test_writer
%C%_unit_test_writer_SOURCES = %D%/unit/test_writer.c
%C%_unit_test_writer_LDADD = $(UNIT_RELAY_LIBS)

UNIT_TESTS += %D%/unit/test_xtext
%C%_unit_test_xtext_SOURCES = %D%/unit/test_xtext.c
%C%_unit_test_xtext_LDADD = $(UNIT_LIBS)

# Helpers of the integration tests.
check_PROGRAMS += %D%/it/table_query
%C%_it_table_query_SOURCES = %D%/it/table_query.c
%C%_it_table_query_LDADD = libsplit.a $(TABLE_LIBS)

check_PROGRAMS += %D%/it/review_query
%C%_it_review_query_SOURCES = %D%/it/review_query.c
%C%_it_review_query_LDADD = libctl.a librelay.a libsplit.a $(RELAY_LIBS) $(TABLE_LIBS) $(SYSTEMD_LIBS)

# Power failures: power_driver's workload is recorded by diskrec.so, and power_replay checks the states of the disk.
check_PROGRAMS += %D%/power/power_driver %D%/power/power_replay %D%/power/power_full
%C%_power_power_full_SOURCES = %D%/power/full.c %D%/power/power_content.c %D%/power/power_content.h
%C%_power_power_full_LDADD = librelay.a libsplit.a $(RELAY_LIBS) $(SYSTEMD_LIBS)
%C%_power_power_driver_SOURCES = %D%/power/driver.c %D%/power/driver_copies.c %D%/power/driver_copies.h \
	%D%/power/promises.h %D%/power/power_content.c %D%/power/power_content.h
%C%_power_power_driver_LDADD = librelay.a libsplit.a $(RELAY_LIBS) $(SYSTEMD_LIBS)
%C%_power_power_replay_SOURCES = %D%/power/replay.c %D%/power/check.c %D%/power/check.h %D%/power/choose.c %D%/power/choose.h \
	%D%/power/disk.c %D%/power/disk.h %D%/power/record.h %D%/power/promises.c %D%/power/promises.h \
	%D%/power/power_content.c %D%/power/power_content.h
%C%_power_power_replay_LDADD = librelay.a libsplit.a $(RELAY_LIBS) $(SYSTEMD_LIBS)
# Not instrumented: it is loaded before the sanitizers.
%D%/power/diskrec.so: %D%/power/diskrec.c %D%/power/diskrec.h %D%/power/record.h
	$(AM_V_CCLD)$(MKDIR_P) %D%/power && \
	$(CC) -D_GNU_SOURCE -std=gnu11 -O2 -fPIC -shared $(WARN_CFLAGS) $(WERROR) -o $@ $(srcdir)/%D%/power/diskrec.c -ldl -pthread
check_DATA = %D%/power/diskrec.so
CLEANFILES += %D%/power/diskrec.so

if HAVE_OPENSSL
UNIT_TESTS += %D%/unit/test_task
%C%_unit_test_task_SOURCES = %D%/unit/test_task.c
%C%_unit_test_task_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/unit/test_template
%C%_unit_test_template_SOURCES = %D%/unit/test_template.c
%C%_unit_test_template_LDADD = $(UNIT_LIBS)

UNIT_TESTS += %D%/unit/test_tls
%C%_unit_test_tls_SOURCES = %D%/unit/test_tls.c
%C%_unit_test_tls_LDADD = $(UNIT_LIBS) $(RELAY_LIBS)
endif

if HAVE_GSASL
UNIT_TESTS += %D%/unit/test_oauth
%C%_unit_test_oauth_SOURCES = %D%/unit/test_oauth.c
%C%_unit_test_oauth_LDADD = $(UNIT_LIBS) $(RELAY_LIBS)

UNIT_TESTS += %D%/unit/test_sasl
%C%_unit_test_sasl_SOURCES = %D%/unit/test_sasl.c
%C%_unit_test_sasl_LDADD = $(UNIT_LIBS) $(RELAY_LIBS)
endif

if HAVE_CHECK
check_PROGRAMS += $(UNIT_TESTS)
TESTS += $(UNIT_TESTS)
endif

# Without root and Postfix: what packages run while they are built.
check-unit:
	$(MAKE) check TESTS='$(UNIT_TESTS) $(FUZZERS)'
.PHONY: check-unit

# For ./dev test quick.
print-unit-tests:
	@echo $(UNIT_TESTS) $(FUZZERS)
.PHONY: print-unit-tests
