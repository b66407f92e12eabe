/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef LIBRARY_H
#define LIBRARY_H

int library_value(void);

#endif /* LIBRARY_H */
