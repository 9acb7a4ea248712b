# SPDX-License-Identifier: ISC
# SMTP and LMTP as a client.
librelay_a_SOURCES += %D%/client.c %D%/client.h
librelay_a_SOURCES += %D%/client_content.c
librelay_a_SOURCES += %D%/client_mail.c %D%/client_mail.h
librelay_a_SOURCES += %D%/client_origin.c
librelay_a_SOURCES += %D%/client_private.h
librelay_a_SOURCES += %D%/client_transaction.c
librelay_a_SOURCES += %D%/connection.c %D%/connection.h
librelay_a_SOURCES += %D%/connection_auth.c
librelay_a_SOURCES += %D%/connection_connect.c
librelay_a_SOURCES += %D%/connection_content.c
librelay_a_SOURCES += %D%/connection_origin.c
librelay_a_SOURCES += %D%/connection_private.h
librelay_a_SOURCES += %D%/connection_reply.c
librelay_a_SOURCES += %D%/connection_tls.c
librelay_a_SOURCES += %D%/outcome.c %D%/outcome.h
librelay_a_SOURCES += %D%/route.c %D%/route.h
librelay_a_SOURCES += %D%/route_down.c %D%/route_down.h
librelay_a_SOURCES += %D%/runtime.c %D%/runtime.h
librelay_a_SOURCES += %D%/security.c %D%/security.h
librelay_a_SOURCES += %D%/smtp_features.c %D%/smtp_features.h
