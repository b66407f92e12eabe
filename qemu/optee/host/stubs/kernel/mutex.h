/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef KERNEL_MUTEX_H
#define KERNEL_MUTEX_H

#include <assert.h>

/* One thread: what would be a deadlock is an assertion that fails */
struct mutex {
	int held;
};

#define MUTEX_INITIALIZER { 0 }

static inline void mutex_lock(struct mutex *m)
{
	assert(!m->held);
	m->held = 1;
}

static inline void mutex_unlock(struct mutex *m)
{
	assert(m->held);
	m->held = 0;
}

static inline int mutex_is_locked(struct mutex *m)
{
	return m->held;
}

#endif
