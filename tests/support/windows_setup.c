/*
 * windows_setup.c - a program for UEFI that plays Windows Setup for the tests, as far as the lab can see it: it starts
 * from the disc, waits five seconds for a key, finds the nonce on the lab's own disc, says its markers on COM2, restarts
 * once, switches the machine off, and at the next power-on plays the provisioning. Interfaces: UEFI specification 2.10, chapters 4, 7, 8, 12.3 and 13.9.
 */
#include <stddef.h>
#include <stdint.h>

#define API __attribute__((ms_abi))
#define SECTOR 2048

typedef struct {
    uint32_t a;
    uint16_t b, c;
    uint8_t d[8];
} GUID;
typedef struct {
    uint32_t id;
    uint8_t removable, present, logical, read_only, caching;
    uint32_t block_size, align;
    uint64_t last;
} MEDIA;
typedef struct BLOCK_IO {
    uint64_t revision;
    MEDIA *media;
    void *reset;
    size_t(API *read)(struct BLOCK_IO *, uint32_t id, uint64_t block, size_t size, void *out);
} BLOCK_IO;
typedef struct CONSOLE_IN {
    void *reset;
    size_t(API *read_key)(struct CONSOLE_IN *, uint32_t *key);
} CONSOLE_IN;
typedef struct {
    uint8_t header[24];
    void *before[6];
    void *get_variable;
    void *next;
    void *set_variable;
    void *high;
    void *reset;
} RUNTIME;
typedef struct {
    uint8_t header[24];
    void *call[44];
} BOOT; /* in the order of the specification */
typedef struct {
    uint8_t header[24];
    void *vendor;
    uint32_t revision;
    void *in_handle;
    CONSOLE_IN *in;
    void *out_handle;
    void *out;
    void *err_handle;
    void *err;
    RUNTIME *runtime;
    BOOT *boot;
} SYSTEM;

static GUID block_io = {0x964e5b21, 0x6459, 0x11d2, {0x8e, 0x39, 0, 0xa0, 0xc9, 0x69, 0x72, 0x3b}};
static GUID ours = {0x77736b6c, 0x6162, 0x4c61, {0x62, 0, 0, 0, 0, 0, 0, 1}};
static SYSTEM *efi;
static char nonce[9];

void *memcpy(void *to, const void *from, size_t size)
{
    for (size_t i = 0; i < size; i++)
        ((char *)to)[i] = ((const char *)from)[i];
    return to;
}

static uint8_t in(uint16_t port)
{
    uint8_t value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}
static void out(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static void say(const char *text)
{
    for (; *text; text++) {
        while (!(in(0x2f8 + 5) & 0x20)) {}
        out(0x2f8, (uint8_t)*text);
    }
}

static void mark(const char *text)
{
    say("WSKLAB-SETUP ");
    say(nonce);
    say(" ");
    say(text);
    say("\r\n");
}

static void find_nonce(void)
{
    static const char start[] = "wsklab-nonce ";
    static char sector[SECTOR];
    size_t count = 0;
    void **handles;
    size_t(API * locate)(int, GUID *, void *, size_t *, void ***) = efi->boot->call[36];
    size_t(API * connect)(void *, void *, void *, int) = efi->boot->call[30];
    /* The firmware has looked only at what it starts from. */
    locate(0, NULL, NULL, &count, &handles);
    for (size_t h = 0; h < count; h++)
        connect(handles[h], NULL, NULL, 1);
    locate(2, &block_io, NULL, &count, &handles);
    for (size_t h = 0; h < count; h++) {
        BLOCK_IO *disc;
        if (((size_t(API *)(void *, GUID *, void **))efi->boot->call[16])(handles[h], &block_io, (void **)&disc))
            continue;
        if (!disc->media->present || disc->media->block_size != SECTOR)
            continue;
        for (uint64_t block = 0; block <= disc->media->last && block < 4096; block++) {
            size_t same = 0;
            if (disc->read(disc, disc->media->id, block, SECTOR, sector))
                break;
            while (same < sizeof start - 1 && sector[same] == start[same])
                same++;
            if (same == sizeof start - 1) {
                memcpy(nonce, sector + same, 8);
                return;
            }
        }
    }
}

static void stall(size_t microseconds)
{
    ((size_t(API *)(size_t))efi->boot->call[28])(microseconds);
}

static void leave(int how)
{
    stall(200000);
    ((void(API *)(int, size_t, size_t, void *))efi->runtime->reset)(how, 0, 0, NULL);
}

static int key_pressed(void)
{
    uint32_t key;
    for (int i = 0; i < 50; i++) {
        if (efi->in->read_key(efi->in, &key) == 0)
            return 1;
        stall(100000);
    }
    return 0;
}

size_t API efi_main(void *image, SYSTEM *system)
{
    static uint16_t name[] = {'S', 'e', 't', 'u', 'p', 0};
    uint8_t done = 1;
    size_t size = 1;
    (void)image;
    efi = system;
    find_nonce();
    size_t(API * get)(uint16_t *, GUID *, uint32_t *, size_t *, void *) = efi->runtime->get_variable;
    size_t(API * set)(uint16_t *, GUID *, uint32_t, size_t, void *) = efi->runtime->set_variable;
    if (get(name, &ours, NULL, &size, &done)) {
        if (!key_pressed())
            return (size_t)1 << 63 | 18; /* EFI_TIMEOUT, as Microsoft's loader */
        mark("stage=windowsPE");
        set(name, &ours, 7, 1, &done); /* non-volatile, boot and run time */
        leave(1);                      /* warm reset */
    }
    if (done == 1) { /* the first logon: off, and provisioning comes with the next power-on */
        mark("stage=specialize");
        mark("stage=firstlogon");
        mark("stage=installed");
        done = 2;
        set(name, &ours, 7, 1, &done);
        leave(2);
    }
    mark("stage=provision");
    mark("step=drivers");
#ifdef FAIL
    mark("fail step=drivers line=33 pnputil.exe ended with 5");
    for (;;) {}
#endif
    mark("stage=restart");
    mark("stage=finish");
    mark("report=" REPORT);
    mark("stage=done");
    leave(2); /* power off */
    return 0;
}
