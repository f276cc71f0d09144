//! The whole mesh, from outside: the built `synod`, and clients that know nothing but the contract.

mod foreign;
