// Memory of a call: one block for each calling thread, kept for the next call and given back when the thread ends.
#pragma once
#include <pthread.h>
#include "vector.h"

namespace {

struct Room {
    char* base;
    unsigned long size;
};
pthread_key_t room_key;
pthread_once_t room_once = PTHREAD_ONCE_INIT;
void leave_room(void* given) {
    __builtin_free(((Room*)given)->base);
    __builtin_free(given);
}
void make_room_key() { pthread_key_create(&room_key, leave_room); }

char* room_of(unsigned long size) {
    pthread_once(&room_once, make_room_key);
    Room* room = (Room*)pthread_getspecific(room_key);
    if (!room) {
        room = (Room*)__builtin_calloc(1, sizeof(Room));
        if (!room) return nullptr;
        pthread_setspecific(room_key, room);
    }
    if (room->size < size) {
        __builtin_free(room->base);
        room->size = 0;
        room->base = (char*)__builtin_malloc(size);
        if (room->base) room->size = size;
    }
    return room->base;
}

// Shares a block out: first counted with base = 0, then given.
struct Sharing {
    char* base;
    unsigned long used;
    void* take(unsigned long bytes) {
        char* const at = base ? base + used : nullptr;
        used += (bytes + 127) / 64 * 64;
        return at;
    }
    real* reals(long count) { return (real*)take(count * sizeof(real)); }
};

}  // namespace
