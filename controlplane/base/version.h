
/*
 * The version of Corral, for corrald, the CLI and the shim.
 */


#ifndef _CORRALD_VERSION_H_INCLUDED_
#define _CORRALD_VERSION_H_INCLUDED_


#define CORRALD_VERSION  "0.1.0"


#endif /* _CORRALD_VERSION_H_INCLUDED_ */
