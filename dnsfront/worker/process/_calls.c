/*
 * _calls - the system calls of a round, without what ctypes and floats cost.
 *
 * wait(epoll, timeout_ms)  the descriptors that are ready, with their events
 * receive(fd, at, count)   recvmmsg(2) into the headers at an address
 * send(fd, at, count)      sendmmsg(2) of them
 *
 * Neither of the last two waits; they return how many there were, or minus the errno.
 * The same in Python, for who has no compiler, is in calls.py beside this file; that
 * file is also the only user.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>

/* More than a worker has that are ready at once; the rest has the next round. */
#define MOST_EVENTS 256

static PyObject *wait_for(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
	struct epoll_event events[MOST_EVENTS];
	PyObject *found, *pair;
	PyThreadState *others;
	long fd, timeout_ms;
	int ready;

	(void)module;
	if (count != 2) {
		PyErr_SetString(PyExc_TypeError, "wait takes 2 arguments");
		return NULL;
	}
	fd = PyLong_AsLong(args[0]);
	timeout_ms = PyLong_AsLong(args[1]);
	if (PyErr_Occurred())
		return NULL;
	others = PyEval_SaveThread();
	ready = epoll_wait((int)fd, events, MOST_EVENTS, (int)timeout_ms);
	PyEval_RestoreThread(others);
	if (ready < 0) {
		if (errno != EINTR)
			return PyErr_SetFromErrno(PyExc_OSError);
		if (PyErr_CheckSignals())
			return NULL;
		ready = 0;
	}
	found = PyList_New(ready);
	for (int i = 0; found && i < ready; i++) {
		pair = Py_BuildValue("iI", events[i].data.fd, events[i].events);
		if (!pair)
			Py_CLEAR(found);
		else
			PyList_SET_ITEM(found, i, pair);
	}
	return found;
}

/* Read a descriptor, the address of headers, and how many there are. */
static int headers_in(PyObject *const *args, Py_ssize_t count, int *fd,
		      struct mmsghdr **at, unsigned int *headers)
{
	if (count != 3) {
		PyErr_SetString(PyExc_TypeError, "3 arguments are wanted");
		return -1;
	}
	*fd = (int)PyLong_AsLong(args[0]);
	*at = PyLong_AsVoidPtr(args[1]);
	*headers = (unsigned int)PyLong_AsLong(args[2]);
	return PyErr_Occurred() ? -1 : 0;
}

static PyObject *receive(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
	struct mmsghdr *at;
	unsigned int headers;
	int fd, done;

	(void)module;
	if (headers_in(args, count, &fd, &at, &headers))
		return NULL;
	done = recvmmsg(fd, at, headers, MSG_DONTWAIT, NULL);
	return PyLong_FromLong(done < 0 ? -errno : done);
}

static PyObject *send_all(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
	struct mmsghdr *at;
	unsigned int headers;
	int fd, done;

	(void)module;
	if (headers_in(args, count, &fd, &at, &headers))
		return NULL;
	done = sendmmsg(fd, at, headers, MSG_DONTWAIT);
	return PyLong_FromLong(done < 0 ? -errno : done);
}

static PyMethodDef methods[] = {
	{"wait", (PyCFunction)(void (*)(void))wait_for, METH_FASTCALL, NULL},
	{"receive", (PyCFunction)(void (*)(void))receive, METH_FASTCALL, NULL},
	{"send", (PyCFunction)(void (*)(void))send_all, METH_FASTCALL, NULL},
	{NULL, NULL, 0, NULL},
};

static struct PyModuleDef calls = {
	PyModuleDef_HEAD_INIT, "_calls", NULL, 0, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__calls(void)
{
	return PyModule_Create(&calls);
}
