fn main() {
    let a: Vec<String> = std::env::args().collect();
    let mut w = callahead::transcribe::whisper::Whisper::load(std::path::Path::new(&a[1])).unwrap();
    for f in &a[2..] {
        let s = callahead::transcribe::load(std::path::Path::new(f));
        let t = w.transcribe(&s, &[], "en").unwrap();
        println!("{f} {:.2} {}", t.seconds, t.text.reveal());
        for x in &t.words {
            print!("{}:{}-{}:{:.2} ", x.text.reveal(), x.start_ms, x.end_ms, x.confidence);
        }
        println!();
    }
}
