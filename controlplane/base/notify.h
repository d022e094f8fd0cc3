
/*
 * Telling systemd how we are.  See notify.c.
 */


#ifndef _CORRALD_NOTIFY_H_INCLUDED_
#define _CORRALD_NOTIFY_H_INCLUDED_


void corrald_notify(const char *state);


#endif /* _CORRALD_NOTIFY_H_INCLUDED_ */
