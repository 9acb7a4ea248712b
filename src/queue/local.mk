# SPDX-License-Identifier: ISC
# Where copies wait.
librelay_a_SOURCES += %D%/db.c %D%/db.h %D%/db_pgsql.h
librelay_a_SOURCES += %D%/db_sqlite.c %D%/db_sqlite_gather.c %D%/db_sqlite_log.c %D%/db_sqlite_open.c
librelay_a_SOURCES += %D%/db_sqlite_private.h
librelay_a_SOURCES += %D%/large.c %D%/large.h
librelay_a_SOURCES += %D%/queue.h
librelay_a_SOURCES += %D%/queue_change.c
librelay_a_SOURCES += %D%/queue_count.c %D%/queue_count.h
librelay_a_SOURCES += %D%/queue_depth.c
librelay_a_SOURCES += %D%/queue_drop.c
librelay_a_SOURCES += %D%/queue_id.c %D%/queue_id.h
librelay_a_SOURCES += %D%/queue_insert.c
librelay_a_SOURCES += %D%/queue_look.c
librelay_a_SOURCES += %D%/queue_next.c
librelay_a_SOURCES += %D%/queue_node.c %D%/queue_node_listen.c %D%/queue_node_private.h
librelay_a_SOURCES += %D%/queue_old.c
librelay_a_SOURCES += %D%/queue_open.c %D%/queue_open.h
librelay_a_SOURCES += %D%/queue_order.c
librelay_a_SOURCES += %D%/queue_private.h
librelay_a_SOURCES += %D%/queue_put.c %D%/queue_put_content.c %D%/queue_put_private.h
librelay_a_SOURCES += %D%/queue_read.c
librelay_a_SOURCES += %D%/queue_reader.c %D%/queue_reader.h
librelay_a_SOURCES += %D%/queue_reader_history.c
librelay_a_SOURCES += %D%/queue_reader_list.c %D%/queue_reader_private.h
librelay_a_SOURCES += %D%/queue_reader_nodes.c
librelay_a_SOURCES += %D%/queue_return.c
librelay_a_SOURCES += %D%/queue_row.c %D%/queue_row.h
librelay_a_SOURCES += %D%/queue_suspend.c
librelay_a_SOURCES += %D%/queue_window.c %D%/queue_window.h
librelay_a_SOURCES += %D%/queue_write.c
librelay_a_SOURCES += %D%/schema.c %D%/schema.h
librelay_a_SOURCES += %D%/selection.c %D%/selection.h
librelay_a_SOURCES += %D%/writer.c %D%/writer.h %D%/writer_commit.c %D%/writer_private.h
if HAVE_LIBPQ
librelay_a_SOURCES += %D%/db_pgsql.c %D%/db_pgsql_open.c %D%/db_pgsql_pipe.c %D%/db_pgsql_private.h
librelay_a_SOURCES += %D%/db_pgsql_value.c %D%/db_pgsql_watch.c
else
librelay_a_SOURCES += %D%/db_pgsql_none.c
endif
