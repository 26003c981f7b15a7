/* device.h - ioctl, close_device. */
#ifndef WSKAGENT_DEVICE_H
#define WSKAGENT_DEVICE_H

#include "call.h"

OPERATION_FUNCTION op_ioctl, op_close_device;
void devices_close(void);
void devices_forget(void); /* what a stuck call uses is left to it */

#endif
