//! A pipe whose closing says that whoever holds its other end is gone, however it went.

use std::io;
use tokio::sync::oneshot;

/// Waits until stdin is closed. What comes on it is not read for its content. To be asked once in a
/// process: the thread that reads stays until then.
pub async fn abandoned() {
    let (tell, told) = oneshot::channel::<()>();
    let reader = std::thread::Builder::new().name("lifeline".to_owned()).spawn(move || {
        // An error is as good as an end: there is nobody there.
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        drop(tell);
    });
    match reader {
        Ok(_) => {
            let _ = told.await;
        }
        Err(error) => {
            tracing::warn!(%error, "stdin is not watched");
            std::future::pending::<()>().await;
        }
    }
}
