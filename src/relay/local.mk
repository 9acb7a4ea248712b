# splitrelay: everything but main() is a library, for the tests and for splitctl.
noinst_LIBRARIES += librelay.a
librelay_a_SOURCES =
librelay_a_SOURCES += %D%/client.c %D%/client.h %D%/client_private.h
librelay_a_SOURCES += %D%/client_auth.c %D%/client_auth.h
librelay_a_SOURCES += %D%/client_connect.c
librelay_a_SOURCES += %D%/client_content.c
librelay_a_SOURCES += %D%/client_origin.c %D%/client_origin.h
librelay_a_SOURCES += %D%/client_tls.c %D%/client_tls.h
librelay_a_SOURCES += %D%/client_mail.c %D%/client_mail.h
librelay_a_SOURCES += %D%/client_reply.c
librelay_a_SOURCES += %D%/client_transaction.c
librelay_a_SOURCES += %D%/content.c %D%/content.h
librelay_a_SOURCES += %D%/control.c %D%/control.h
librelay_a_SOURCES += %D%/control_line.c %D%/control_line.h
librelay_a_SOURCES += %D%/counters.c %D%/counters.h
librelay_a_SOURCES += %D%/delivery.c %D%/delivery.h
librelay_a_SOURCES += %D%/destination.c %D%/destination.h %D%/destination_private.h
librelay_a_SOURCES += %D%/destination_health.c
librelay_a_SOURCES += %D%/duplicate.c %D%/duplicate.h %D%/duplicate_private.h
librelay_a_SOURCES += %D%/duplicate_content.c
librelay_a_SOURCES += %D%/flow.c %D%/flow.h
librelay_a_SOURCES += %D%/format.c %D%/format.h
librelay_a_SOURCES += %D%/format_class.c %D%/format_class.h
librelay_a_SOURCES += %D%/format_journal.c %D%/format_journal.h
librelay_a_SOURCES += %D%/format_scan.c %D%/format_scan.h
librelay_a_SOURCES += %D%/format_word.c %D%/format_word.h
librelay_a_SOURCES += %D%/maildir.c %D%/maildir.h
librelay_a_SOURCES += %D%/maildir_file.c %D%/maildir_file.h
librelay_a_SOURCES += %D%/maillog.c %D%/maillog.h
librelay_a_SOURCES += %D%/primary.c %D%/primary.h %D%/primary_private.h
librelay_a_SOURCES += %D%/primary_talk.c
librelay_a_SOURCES += %D%/primary_pool.c %D%/primary_pool.h
librelay_a_SOURCES += %D%/queue.h
librelay_a_SOURCES += %D%/relay.c %D%/relay.h
librelay_a_SOURCES += %D%/resolver.h
librelay_a_SOURCES += %D%/route.c %D%/route.h
librelay_a_SOURCES += %D%/route_down.c %D%/route_down.h
librelay_a_SOURCES += %D%/relay_page.c %D%/relay_page.h
librelay_a_SOURCES += %D%/security.c %D%/security.h
librelay_a_SOURCES += %D%/server.c %D%/server.h
librelay_a_SOURCES += %D%/server_admission.c %D%/server_private.h
librelay_a_SOURCES += %D%/session.c %D%/session.h %D%/session_private.h
librelay_a_SOURCES += %D%/session_mail.c
librelay_a_SOURCES += %D%/session_tls.c
librelay_a_SOURCES += %D%/spool.c %D%/spool.h %D%/spool_private.h
librelay_a_SOURCES += %D%/spool_change.c %D%/spool_change_private.h
librelay_a_SOURCES += %D%/spool_change_batch.c
librelay_a_SOURCES += %D%/spool_copy.c
librelay_a_SOURCES += %D%/spool_depth.c %D%/spool_depth.h
librelay_a_SOURCES += %D%/spool_batch.c
librelay_a_SOURCES += %D%/spool_dir.c
librelay_a_SOURCES += %D%/spool_envelope.c %D%/spool_envelope.h
librelay_a_SOURCES += %D%/spool_envelope_format.c
librelay_a_SOURCES += %D%/spool_move.c
librelay_a_SOURCES += %D%/spool_owner.c %D%/spool_owner.h
librelay_a_SOURCES += %D%/spool_pass.c
librelay_a_SOURCES += %D%/spool_pool.c
librelay_a_SOURCES += %D%/spool_put.c
librelay_a_SOURCES += %D%/spool_queue.c %D%/spool_queue.h %D%/spool_queue_private.h
librelay_a_SOURCES += %D%/spool_requeue.c
librelay_a_SOURCES += %D%/spool_retry.c
librelay_a_SOURCES += %D%/spool_return.c
librelay_a_SOURCES += %D%/spool_sample.c
librelay_a_SOURCES += %D%/spool_scan.c
librelay_a_SOURCES += %D%/spool_walk.c
librelay_a_SOURCES += %D%/spool_window.c %D%/spool_window.h
librelay_a_SOURCES += %D%/suspects.c %D%/suspects.h
librelay_a_SOURCES += %D%/trace.c %D%/trace.h
librelay_a_SOURCES += %D%/transaction.c %D%/transaction.h
librelay_a_SOURCES += %D%/transaction_content.c %D%/transaction_private.h
librelay_a_SOURCES += %D%/transport.c %D%/transport.h
librelay_a_SOURCES += %D%/xforward.c %D%/xforward.h

if HAVE_CARES
librelay_a_SOURCES += %D%/resolver_cares.c %D%/resolver_cares_private.h
if HAVE_CARES_DNSREC
librelay_a_SOURCES += %D%/resolver_cares_dnsrec.c
else
librelay_a_SOURCES += %D%/resolver_cares_reply.c
endif
else
librelay_a_SOURCES += %D%/resolver_libc.c
endif

sbin_PROGRAMS += splitrelay
splitrelay_SOURCES = %D%/main.c
splitrelay_LDADD = librelay.a libsplit.a $(RELAY_LIBS) $(TABLE_LIBS) $(SYSTEMD_LIBS) $(MICROHTTPD_LIBS)
