/* peer.h - the far end of the storm: accepts everything and ends it at random, with FIN or reset, with data or none. */
#ifndef WSKLAB_TEST_PEER_H
#define WSKLAB_TEST_PEER_H

unsigned peer_start(void); /* gives the port, on 127.0.0.1 */
void peer_stop(void);

#endif
