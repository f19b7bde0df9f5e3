//! Reading a plugin's file without running it.
