# The core library: everything that all three programs share. One module a line, in alphabetical order.
noinst_LIBRARIES += libsplit.a
libsplit_a_SOURCES =
libsplit_a_SOURCES += %D%/address.c %D%/address.h
libsplit_a_SOURCES += %D%/buf.c %D%/buf.h
libsplit_a_SOURCES += %D%/casefold.c %D%/casefold.h
libsplit_a_SOURCES += %D%/config.c %D%/config.h
libsplit_a_SOURCES += %D%/config_destination.c %D%/config_destination.h
libsplit_a_SOURCES += %D%/config_fault.c %D%/config_fault.h
libsplit_a_SOURCES += %D%/config_file.c %D%/config_file.h
libsplit_a_SOURCES += %D%/config_include.c %D%/config_include.h
libsplit_a_SOURCES += %D%/config_lex.c %D%/config_lex.h
libsplit_a_SOURCES += %D%/config_option.c %D%/config_option.h
libsplit_a_SOURCES += %D%/config_option_table.c
libsplit_a_SOURCES += %D%/config_option_text.c %D%/config_option_text.h
libsplit_a_SOURCES += %D%/config_parse.c %D%/config_parse.h
libsplit_a_SOURCES += %D%/config_restart.c %D%/config_restart.h
libsplit_a_SOURCES += %D%/config_tls.c %D%/config_tls.h
libsplit_a_SOURCES += %D%/config_tree.c %D%/config_tree.h
libsplit_a_SOURCES += %D%/config_units.c %D%/config_units.h
libsplit_a_SOURCES += %D%/daemon.c %D%/daemon.h
libsplit_a_SOURCES += %D%/dsn.c %D%/dsn.h
libsplit_a_SOURCES += %D%/endpoint.c %D%/endpoint.h %D%/endpoint_connect.c %D%/endpoint_network.c
libsplit_a_SOURCES += %D%/err.c %D%/err.h
libsplit_a_SOURCES += %D%/hdr_address.c %D%/hdr_address.h
libsplit_a_SOURCES += %D%/inherited.c %D%/inherited.h
libsplit_a_SOURCES += %D%/log.c %D%/log.h
libsplit_a_SOURCES += %D%/lookup.c %D%/lookup.h
libsplit_a_SOURCES += %D%/mem.c %D%/mem.h
libsplit_a_SOURCES += %D%/metrics.c %D%/metrics.h
libsplit_a_SOURCES += %D%/metrics_http.h
libsplit_a_SOURCES += %D%/metrics_process.c
libsplit_a_SOURCES += %D%/milter_packet.c %D%/milter_packet.h
libsplit_a_SOURCES += %D%/policy.c %D%/policy.h
libsplit_a_SOURCES += %D%/policy_choice.c %D%/policy_choice.h
libsplit_a_SOURCES += %D%/policy_complete.c
libsplit_a_SOURCES += %D%/policy_message.c
libsplit_a_SOURCES += %D%/policy_value.c
libsplit_a_SOURCES += %D%/policy_header.c
libsplit_a_SOURCES += %D%/policy_open.c
libsplit_a_SOURCES += %D%/policy_plan.c %D%/policy_private.h
libsplit_a_SOURCES += %D%/policy_review.c
libsplit_a_SOURCES += %D%/process.c %D%/process.h
libsplit_a_SOURCES += %D%/sasl.h %D%/sasl_file.c
libsplit_a_SOURCES += %D%/smtp_command.c %D%/smtp_command.h
libsplit_a_SOURCES += %D%/smtp_path.c %D%/smtp_path.h
libsplit_a_SOURCES += %D%/smtp_reply.c %D%/smtp_reply.h
libsplit_a_SOURCES += %D%/socketmap_reply.c %D%/socketmap_reply.h
libsplit_a_SOURCES += %D%/snapshot.c %D%/snapshot.h
libsplit_a_SOURCES += %D%/stream.c %D%/stream.h
libsplit_a_SOURCES += %D%/table.c %D%/table.h %D%/table_private.h
libsplit_a_SOURCES += %D%/table_compiled.c
libsplit_a_SOURCES += %D%/table_file.c
libsplit_a_SOURCES += %D%/table_index.c
libsplit_a_SOURCES += %D%/table_inline.c
libsplit_a_SOURCES += %D%/table_lines.c
libsplit_a_SOURCES += %D%/table_pcre.c
libsplit_a_SOURCES += %D%/table_pcre_needs.c %D%/table_pcre_needs.h
libsplit_a_SOURCES += %D%/table_regexp.c
libsplit_a_SOURCES += %D%/table_rules.c %D%/table_rules.h
libsplit_a_SOURCES += %D%/table_socketmap.c
libsplit_a_SOURCES += %D%/table_static.c
libsplit_a_SOURCES += %D%/table_texthash.c
libsplit_a_SOURCES += %D%/task.c %D%/task.h %D%/task_private.h
libsplit_a_SOURCES += %D%/task_block.c
libsplit_a_SOURCES += %D%/task_switch.c
libsplit_a_SOURCES += %D%/task_wait.c
libsplit_a_SOURCES += %D%/tls.c %D%/tls.h %D%/tls_private.h
libsplit_a_SOURCES += %D%/utf8.c %D%/utf8.h
libsplit_a_SOURCES += %D%/verdict.c %D%/verdict.h
libsplit_a_SOURCES += %D%/watch.c %D%/watch.h
libsplit_a_SOURCES += %D%/xtext.c %D%/xtext.h

if HAVE_GSASL
libsplit_a_SOURCES += %D%/sasl_gsasl.c
else
libsplit_a_SOURCES += %D%/sasl_none.c
endif
if HAVE_OPENSSL
libsplit_a_SOURCES += %D%/tls_context.c %D%/tls_stream.c
else
libsplit_a_SOURCES += %D%/tls_none.c
endif
if HAVE_CDB
libsplit_a_SOURCES += %D%/table_cdb.c
endif
if HAVE_LMDB
libsplit_a_SOURCES += %D%/table_lmdb.c
endif
if HAVE_MICROHTTPD
libsplit_a_SOURCES += %D%/metrics_http.c
else
libsplit_a_SOURCES += %D%/metrics_http_none.c
endif
