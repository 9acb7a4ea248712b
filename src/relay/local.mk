# splitrelay: everything but main() is a library, for the tests and for splitctl.
noinst_LIBRARIES += librelay.a
librelay_a_SOURCES =
librelay_a_SOURCES += %D%/client.c %D%/client.h %D%/client_private.h
librelay_a_SOURCES += %D%/client_connect.c
librelay_a_SOURCES += %D%/client_content.c
librelay_a_SOURCES += %D%/client_transaction.c
librelay_a_SOURCES += %D%/content.c %D%/content.h
librelay_a_SOURCES += %D%/control.c %D%/control.h
librelay_a_SOURCES += %D%/delivery.c %D%/delivery.h
librelay_a_SOURCES += %D%/destination.c %D%/destination.h
librelay_a_SOURCES += %D%/queue.h
librelay_a_SOURCES += %D%/session.c %D%/session.h
librelay_a_SOURCES += %D%/trace.c %D%/trace.h
librelay_a_SOURCES += %D%/transaction.c %D%/transaction.h
librelay_a_SOURCES += %D%/xforward.c %D%/xforward.h
