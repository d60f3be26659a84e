//! What the frames of a call carry.

/// A call.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct Request {
    /// The full name of the service.
    #[prost(string, tag = "1")]
    pub service: String,
    /// The name of the method.
    #[prost(string, tag = "2")]
    pub method: String,
    /// The method's message.
    #[prost(bytes = "vec", tag = "3")]
    pub payload: Vec<u8>,
    /// After how many nanoseconds the caller gives up; 0 for never.
    #[prost(int64, tag = "4")]
    pub timeout_nano: i64,
    /// What goes with the call beside its message.
    #[prost(message, repeated, tag = "5")]
    pub metadata: Vec<KeyValue>,
}

/// The answer to a call.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct Response {
    /// What went wrong; absent, or of code 0, if nothing did.
    #[prost(message, optional, tag = "1")]
    pub status: Option<crate::Status>,
    /// The method's message.
    #[prost(bytes = "vec", tag = "2")]
    pub payload: Vec<u8>,
}

/// One value of metadata; a key may come several times.
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct KeyValue {
    /// The key.
    #[prost(string, tag = "1")]
    pub key: String,
    /// A value of it.
    #[prost(string, tag = "2")]
    pub value: String,
}
