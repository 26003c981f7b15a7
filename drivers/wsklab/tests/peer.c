/*
 * peer.c - see peer.h. A file of its own because wsk.h and the system's socket headers have the same type names.
 */
#include "peer.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static int listener;
static pthread_t thread;

static void *peer(void *argument)
{
    unsigned seed = 7;
    (void)argument;
    for (;;) {
        int connection = accept(listener, NULL, NULL);
        if (connection < 0)
            return NULL;
        int how = rand_r(&seed) % 4;
        struct linger reset = {1, 0};
        if (how & 1)
            (void)!send(connection, "hello", 5, MSG_NOSIGNAL);
        if (how & 2)
            setsockopt(connection, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        close(connection);
    }
}

unsigned peer_start(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&address, size) || listen(listener, 1024) ||
        getsockname(listener, (struct sockaddr *)&address, &size) || pthread_create(&thread, NULL, peer, NULL))
        abort();
    return ntohs(address.sin_port);
}

void peer_stop(void)
{
    shutdown(listener, SHUT_RDWR);
    pthread_join(thread, NULL);
    close(listener);
}
