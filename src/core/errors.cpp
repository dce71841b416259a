#include "coppice/errors.hpp"
