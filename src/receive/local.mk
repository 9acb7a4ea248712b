# SPDX-License-Identifier: ISC
# SMTP and LMTP as a server.
librelay_a_SOURCES += %D%/condition.c %D%/condition.h
librelay_a_SOURCES += %D%/content_reader.c %D%/content_reader.h
librelay_a_SOURCES += %D%/duplicate.c %D%/duplicate.h
librelay_a_SOURCES += %D%/duplicate_content.c
librelay_a_SOURCES += %D%/duplicate_private.h
librelay_a_SOURCES += %D%/primary.c %D%/primary.h
librelay_a_SOURCES += %D%/primary_pool.c %D%/primary_pool.h
librelay_a_SOURCES += %D%/primary_private.h
librelay_a_SOURCES += %D%/primary_talk.c
librelay_a_SOURCES += %D%/server.c %D%/server.h
librelay_a_SOURCES += %D%/server_admission.c
librelay_a_SOURCES += %D%/server_private.h
librelay_a_SOURCES += %D%/session.c %D%/session.h
librelay_a_SOURCES += %D%/session_mail.c
librelay_a_SOURCES += %D%/session_private.h
librelay_a_SOURCES += %D%/session_tls.c
librelay_a_SOURCES += %D%/transaction.c %D%/transaction.h
librelay_a_SOURCES += %D%/transaction_content.c
librelay_a_SOURCES += %D%/transaction_private.h
