# SPDX-License-Identifier: ISC
# Text of mail and of its protocols.
libsplit_a_SOURCES += %D%/address.c %D%/address.h
librelay_a_SOURCES += %D%/content.c %D%/content.h
libsplit_a_SOURCES += %D%/dsn.c %D%/dsn.h
libsplit_a_SOURCES += %D%/hdr_address.c %D%/hdr_address.h
libsplit_a_SOURCES += %D%/header_condition.c %D%/header_condition.h
libsplit_a_SOURCES += %D%/milter_packet.c %D%/milter_packet.h
libsplit_a_SOURCES += %D%/smtp_command.c %D%/smtp_command.h
libsplit_a_SOURCES += %D%/smtp_path.c %D%/smtp_path.h
libsplit_a_SOURCES += %D%/smtp_reply.c %D%/smtp_reply.h
libsplit_a_SOURCES += %D%/template.c %D%/template.h
librelay_a_SOURCES += %D%/xforward.c %D%/xforward.h
libsplit_a_SOURCES += %D%/xtext.c %D%/xtext.h
