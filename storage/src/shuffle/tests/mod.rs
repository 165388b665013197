mod fault;
mod index;
mod pack;
mod reader;
mod store;
mod uploader;
