//! What a user sees of workbooks.
