//! Rules are broken one by one; each is named, with its documented code and the argument.
