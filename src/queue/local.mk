# SPDX-License-Identifier: ISC
# Where copies wait.
librelay_a_SOURCES += %D%/queue.h
librelay_a_SOURCES += %D%/spool.c %D%/spool.h
librelay_a_SOURCES += %D%/spool_batch.c
librelay_a_SOURCES += %D%/spool_change.c
librelay_a_SOURCES += %D%/spool_change_batch.c
librelay_a_SOURCES += %D%/spool_change_private.h
librelay_a_SOURCES += %D%/spool_copy.c
librelay_a_SOURCES += %D%/spool_depth.c %D%/spool_depth.h
librelay_a_SOURCES += %D%/spool_dir.c
librelay_a_SOURCES += %D%/spool_envelope.c %D%/spool_envelope.h
librelay_a_SOURCES += %D%/spool_envelope_format.c
librelay_a_SOURCES += %D%/spool_move.c
librelay_a_SOURCES += %D%/spool_owner.c %D%/spool_owner.h
librelay_a_SOURCES += %D%/spool_pass.c
librelay_a_SOURCES += %D%/spool_pool.c
librelay_a_SOURCES += %D%/spool_private.h
librelay_a_SOURCES += %D%/spool_put.c
librelay_a_SOURCES += %D%/spool_queue.c %D%/spool_queue.h
librelay_a_SOURCES += %D%/spool_queue_private.h
librelay_a_SOURCES += %D%/spool_requeue.c
librelay_a_SOURCES += %D%/spool_retry.c
librelay_a_SOURCES += %D%/spool_return.c
librelay_a_SOURCES += %D%/spool_sample.c
librelay_a_SOURCES += %D%/spool_scan.c
librelay_a_SOURCES += %D%/spool_walk.c
librelay_a_SOURCES += %D%/spool_window.c %D%/spool_window.h
